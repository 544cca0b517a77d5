"""The main job: pretrain, meta-train, meta-evaluate, report; one sub-folder of the workdir each."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from l2o.artifacts.artifact import read
from l2o.artifacts.artifact import save as save_optimizer
from l2o.errors import InputError
from l2o.models import MODELS
from l2o.registry import build as build_from
from l2o.rules import RULES
from l2o.tasks import TASKS
from l2o.types import Params, Theta
from reports import report
from reports.results import Results, add_paper, save, summarize
from trainers.checks import blocks, trial
from trainers.harness import stage, workdir
from trainers.harness.folder import OPTIMIZER, RESULTS, Folder
from trainers.resources import run_data, seen_classes
from trainers.stages import meta_evaluation, meta_training, pretraining, training

CARD = (  # of each row of the learned optimizer
  'experiment',
  'source',
  'num_steps',
  'tasks',
  'accuracy_mean',
  'accuracy_std',
  'difference_mean',
  'difference_low',
  'difference_high',
  'seen_classes',
)


class Pipeline(NamedTuple):
  """All stages, built."""

  pretrain: Mapping[str, training.Train]  # one for each start
  meta_train: meta_training.MetaTrain
  meta_evaluate: meta_evaluation.MetaEvaluate
  options: stage.Options
  params: Params  # shapes of what theta is for
  classes: Mapping[str, Any]  # part of the class split -> names


def build(config: Mapping[str, Any]) -> Pipeline:
  """Builds every stage, so that what is wrong with any is said before the first begins.

  Raises:
    InputError: anything in the config that cannot be done.
  """
  typed = blocks.pipeline(config)
  data = run_data.load(typed)
  model = build_from(MODELS, typed.model, 'model', num_classes=typed.episodes.num_ways)
  shape = run_data.image_shape(data)
  task = build_from(TASKS, typed.task, 'task', model=model, image_shape=shape)
  with trial.said_of(f'the model {dict(typed.model)} cannot be built'):
    params = jax.eval_shape(lambda key: task.init(key)[0], jax.random.key(0))
  rule = build_from(RULES, typed.rule, 'rule')
  plan = Pipeline(
    {start: pretraining.build(typed, data, start) for start in _starts(typed.pretrain)},
    meta_training.build(typed, data, task, rule),
    meta_evaluation.build(typed, data, task, rule),
    stage.options(typed),
    params,
    run_data.dealt_classes(data, (typed.meta_train.source, typed.meta_train.classes)),
  )
  for start, built in plan.pretrain.items():
    with trial.said_of(f'pretrain.starts.{start}'):
      training.check_shapes(built)
  meta_training.check_shapes(
    plan.meta_train, training.trained_shapes(plan.pretrain[plan.meta_train.spec.start])
  )
  meta_evaluation.check_shapes(plan.meta_evaluate, params)
  return plan


def _starts(spec: blocks.Pretrain) -> Mapping[str, blocks.Start]:
  """The networks to start from, by name."""
  starts = spec.starts
  blocks.check_names(starts, 'one of pretrain.starts')
  if meta_evaluation.RANDOM in starts:
    raise InputError(
      f'pretrain.starts.{meta_evaluation.RANDOM} is the name of the network that is not pretrained'
    )
  return starts


def run(plan: Pipeline, folder: Folder, config: Mapping[str, Any]) -> None:
  """Runs the stages in order; each resumes from its newest checkpoint."""
  pretrained = {
    start: pretraining.run(stage, folder.sub(_pretrain_folder(plan, start)), plan.options)
    for start, stage in plan.pretrain.items()
  }
  theta = meta_training.run(
    plan.meta_train, pretrained[plan.meta_train.spec.start], folder.sub('meta_train'), plan.options
  )
  _save_optimizer(plan, theta, folder, config, [])
  outcomes = meta_evaluation.run(
    plan.meta_evaluate, pretrained, theta, folder.sub('meta_evaluate'), plan.options
  )
  spec = plan.meta_evaluate.spec
  rows = summarize(outcomes, spec.bootstrap_samples, config['seed'])
  add_paper(rows, spec.paper, spec.num_steps)
  seen_classes.mark(rows, plan.meta_evaluate.leaks)
  _mark_horizon(rows, plan)
  save(folder.sub('meta_evaluate') / 'outcomes.npz', outcomes)
  print(report.write(rows, folder))
  _save_optimizer(plan, theta, folder, config, rows)
  folder.write_json(RESULTS, rows)


def _mark_horizon(rows: Results, plan: Pipeline) -> None:
  """Marks rows of the learned optimizer with more steps than it was meta-trained for."""
  spec = plan.meta_train.spec
  for row in rows:
    ours = row['optimizer'] == plan.meta_evaluate.rule_name
    if ours and spec.num_generations and row['num_steps'] > spec.max_steps:
      row['beyond_horizon'] = True


def _save_optimizer(
  plan: Pipeline, theta: Theta, folder: Folder, config: Mapping[str, Any], rows: Results
) -> None:
  """Writes the learned optimizer, with a card that records where it comes from."""
  spec = config['rule']
  if spec['name'] == 'artifact':  # one from a file keeps the name of its rule
    spec = read(spec['path']).spec
  ours = [
    {key: row[key] for key in CARD if key in row}
    for row in rows
    if row['optimizer'] == plan.meta_evaluate.rule_name
  ]
  card = {
    'config': config,
    'classes': plan.classes,
    'revision': workdir.revision(),
    'results': ours,
  }
  if folder.writes:
    save_optimizer(folder / OPTIMIZER, theta, plan.params, spec, card)


def _pretrain_folder(plan: Pipeline, start: str) -> str:
  return 'pretrain' if start == plan.meta_train.spec.start else f'pretrain_{start}'

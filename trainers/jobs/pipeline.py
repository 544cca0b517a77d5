"""The main job: pretrain, meta-train, meta-evaluate, report; each stage has its own folder."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import pandas as pd

from l2o.artifacts.artifact import read
from l2o.artifacts.artifact import save as save_optimizer
from l2o.errors import InputError
from l2o.models import MODELS
from l2o.registry import build as build_from
from l2o.rules import RULES
from l2o.tasks import TASKS
from l2o.types import Params, Theta
from reports import records, report
from reports.results import Results, add_paper, summarize
from trainers.checks import blocks, trial
from trainers.harness import stage, weights, workdir
from trainers.harness.folder import OPTIMIZER, RECORDS, TABLE, Folder
from trainers.jobs import shown, work
from trainers.processes import agreement
from trainers.resources import given_weights, run_data, seen_classes
from trainers.stages import meta_evaluation, meta_training, pretraining, training
from trainers.stages.rows import label

CARD = (  # from each row of the learned optimizer
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
  """All stages, ready to run."""

  pretrain: Mapping[str, training.Train]  # by name of the start
  given: Mapping[str, given_weights.Given]  # likewise, for the starts with weights
  meta_train: meta_training.MetaTrain
  meta_evaluate: meta_evaluation.MetaEvaluate
  options: stage.Options
  seed: int
  params: Params  # shapes of the parameters that theta optimizes
  classes: Mapping[str, Any]  # part of the class split -> names
  horizons: Mapping[str, int]  # learned optimizer -> the most steps it was meta-trained for


def build(config: Mapping[str, Any]) -> Pipeline:
  """Builds every stage, so that errors in any of them surface before the first one runs.

  Raises:
    InputError: the config asks for something impossible.
  """
  typed = blocks.pipeline(config)
  starts = _starts(typed.pretrain)
  if typed.episodes.num_ways < 2 and typed.task.get('name') == 'classification':
    raise InputError('episodes.num_ways must be at least 2 in classification, not 1')
  data = run_data.load(typed)
  model = build_from(MODELS, typed.model, 'model', num_classes=typed.episodes.num_ways)
  run_data.check_tokens(data, model)
  shape = run_data.image_shape(data)
  found = given_weights.load(weights.named(typed), model, typed.task, shape)
  abouts = {key: given.about for key, given in found.items()}
  typed = blocks.pipeline({**config, 'task': given_weights.prepared(typed.task, abouts)})
  task = build_from(TASKS, typed.task, 'task', model=model, image_shape=shape)
  with trial.said_of(f'the model {dict(typed.model)} cannot be built'):
    params = jax.eval_shape(lambda key: task.init(key)[0], jax.random.key(0))
  rule = build_from(RULES, typed.rule, 'rule')
  all_splits = (source for splits in data.sources.values() for source in splits.values())
  pretrain = {n: pretraining.build(typed, data, n) for n in starts if not starts[n].weights}
  later = (
    meta_training.build(typed, data, task, rule),
    meta_evaluation.build(typed, data, task, rule),
  )
  first = typed.meta_train.start
  by_folder = {_pretrain_folder(first, name): built for name, built in pretrain.items()}
  options = stage.options(typed, run_data.skipped_records(all_splits))
  plan = Pipeline(
    pretrain,
    _by_start(typed, found),
    *later,
    options._replace(work=work.of_stages(typed, by_folder, *later)),
    typed.seed,
    params,
    run_data.dealt_classes(data, (typed.meta_train.source, typed.meta_train.classes)),
    _horizons(typed),
  )
  for start, built in plan.pretrain.items():
    with trial.said_of(f'pretrain.starts.{start}'):
      training.check_shapes(built)
  own = plan.given[first].start if first in plan.given else None
  meta_training.check_shapes(plan.meta_train, own or training.trained_shapes(plan.pretrain[first]))
  meta_evaluation.check_shapes(plan.meta_evaluate, params)
  return plan


def _starts(spec: blocks.Pretrain) -> Mapping[str, blocks.Start]:
  """The networks to start from, by name."""
  starts = spec.starts
  blocks.check_names(starts, 'one of pretrain.starts')
  if meta_evaluation.RANDOM in starts:
    raise InputError(
      f'pretrain.starts.{meta_evaluation.RANDOM} has the name that stands for an untrained '
      f'network; rename it'
    )
  return starts


def _by_start(
  config: blocks.PipelineConfig, found: Mapping[str, given_weights.Given]
) -> dict[str, given_weights.Given]:
  """The weights of each start that names a weight file, by the start's name."""
  given = {name: found.get(weights.key_of(name)) for name in config.pretrain.starts}
  return {
    name: own._replace(about=given_weights.applied(own.about, config.task))
    for name, own in given.items()
    if own
  }


def run(plan: Pipeline, folder: Folder, config: Mapping[str, Any]) -> None:
  """Runs the stages in order; each resumes from its newest checkpoint."""
  shown.config(folder)
  abouts = {weights.key_of(start): given.about for start, given in plan.given.items()}
  agreement.decided(lambda: weights.keep(folder, abouts))
  pretrained = {start: given.start for start, given in plan.given.items()}
  first = plan.meta_train.spec.start
  pretrained |= {
    start: pretraining.run(stage, folder.sub(_pretrain_folder(first, start)), plan.options)
    for start, stage in plan.pretrain.items()
  }
  theta = meta_training.run(
    plan.meta_train, pretrained[first], folder.sub('meta_train'), plan.options
  )
  _save_optimizer(plan, theta, folder, config, [])
  table = meta_evaluation.run(
    plan.meta_evaluate, pretrained, theta, folder.sub('meta_evaluate'), plan.options
  )
  agreement.decided(lambda: _publish(plan, table, theta, folder, config))


def _publish(
  plan: Pipeline, table: pd.DataFrame, theta: Theta, folder: Folder, config: Mapping[str, Any]
) -> None:
  spec = plan.meta_evaluate.spec
  rows = summarize(table, spec.bootstrap_samples, plan.seed)
  add_paper(rows, spec.paper, spec.num_steps)
  seen_classes.mark(rows, plan.meta_evaluate.leaks)
  _mark_horizon(rows, plan.horizons)
  for row in rows:
    row.update(plan.options.of_data)
  folder.write(RECORDS, records.pack(table))
  text, figures = report.make(rows, folder.path)
  print(text)
  folder.write_text(TABLE, text)
  folder.write_figures(figures)
  _save_optimizer(plan, theta, folder, config, rows)
  shown.ended(folder, rows)
  folder.finish(rows)


def _horizons(config: blocks.PipelineConfig) -> dict[str, int]:
  """The longest horizon each learned optimizer was meta-trained for, here or in an earlier run.

  For an optimizer built from several files, the shortest of their horizons counts. Optimizers
  whose files do not record a horizon are left out.
  """
  baselines = config.meta_evaluate.baselines
  own = label(config.rule, baselines)
  rules = {own: config.rule} | {name: block.rule for name, block in baselines.items()}
  found = {name: _horizon_before(rule) for name, rule in rules.items()}
  if config.meta_train.num_generations:
    found[own] = max(found[own], config.meta_train.max_steps)
  return {name: steps for name, steps in found.items() if steps}


def _horizon_before(rule: Mapping[str, Any]) -> int:
  """The horizon recorded in the cards of a rule's files; 0 if they do not record one."""
  told = []
  for card in seen_classes.cards(rule):
    try:
      spec = card['config']['meta_train']
      told.append(spec['max_steps'] if spec['num_generations'] else 0)
    except (KeyError, TypeError):
      told.append(0)
  known = [steps for steps in told if isinstance(steps, int) and steps > 0]
  return min(known, default=0)


def _mark_horizon(rows: Results, horizons: Mapping[str, int]) -> None:
  """Marks rows that run longer than their optimizer was meta-trained for."""
  for row in rows:
    if row['num_steps'] > horizons.get(row['optimizer'], math.inf):
      row['beyond_horizon'] = True


def _save_optimizer(
  plan: Pipeline, theta: Theta, folder: Folder, config: Mapping[str, Any], rows: Results
) -> None:
  """Writes the learned optimizer, with a card that records its origin."""
  spec = config['rule']
  if spec['name'] == 'artifact':  # an optimizer loaded from a file keeps the name of its rule
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
  if plan.given:
    card['weights'] = {start: given.about._asdict() for start, given in plan.given.items()}
  if folder.writes:
    save_optimizer(folder / OPTIMIZER, theta, plan.params, spec, card)


def _pretrain_folder(first: str, start: str) -> str:
  """The folder in which a start is pretrained; `first` is the start of meta-training."""
  return 'pretrain' if start == first else f'pretrain_{start}'

"""The main job: pretrain, meta-train, meta-evaluate, report; one sub-folder of the workdir each."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from l2o.artifact import save_theta
from l2o.build import build as build_from
from l2o.errors import InputError
from l2o.models import MODELS
from l2o.rules import RULES
from l2o.tasks import TASKS
from l2o.types import Task
from reports import report
from reports.results import save, summarize
from trainers import meta_evaluate, meta_train, pretrain, sources, stage, workdir

MAIN = 'main'  # the start that meta-training uses


class Pipeline(NamedTuple):
  """All stages, built."""

  pretrain: Mapping[str, pretrain.Pretrain]  # one for each start
  meta_train: meta_train.MetaTrain
  meta_evaluate: meta_evaluate.MetaEvaluate
  options: stage.Options


def build(config: Mapping[str, Any]) -> Pipeline:
  """Builds every stage, so that what is wrong with any is said before the first begins.

  Raises:
    InputError: anything in the config that cannot be done.
  """
  data = sources.load(config)
  num_ways = config['tasks']['num_ways']
  model = build_from(MODELS, config['model'], 'model', num_classes=num_ways)
  shape = sources.image_shape(data)
  task = build_from(TASKS, config['task'], 'task', model=model, image_shape=shape)
  _check_shapes(task, config['model'])
  rule = build_from(RULES, config['rule'], 'rule')
  starts = config['pretrain']['starts']
  if MAIN not in starts:
    raise InputError(f'pretrain.starts must have {MAIN!r}, where meta-training starts from')
  return Pipeline(
    {start: pretrain.build(config, data, start) for start in starts},
    meta_train.build(config, data, task, rule),
    meta_evaluate.build(config, data, task, rule),
    stage.Options(**{name: config[name] for name in stage.Options._fields}),
  )


def run(plan: Pipeline, folder: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Runs the stages in order; each goes on where its checkpoints end."""
  folders = {name: folder / name for name in ('meta_train', 'meta_evaluate')}
  folders |= {start: folder / _pretrain_folder(start) for start in plan.pretrain}
  for path in folders.values():
    path.mkdir(parents=True, exist_ok=True)
  pretrained = {
    start: pretrain.run(stage, folders[start], plan.options)
    for start, stage in plan.pretrain.items()
  }
  theta = meta_train.run(plan.meta_train, pretrained[MAIN], folders['meta_train'], plan.options)
  save_theta(folders['meta_train'] / 'theta.npz', theta)
  outcomes = meta_evaluate.run(
    plan.meta_evaluate, pretrained, theta, folders['meta_evaluate'], plan.options
  )
  rows = summarize(outcomes, config['meta_evaluate']['bootstrap_samples'], config['seed'])
  save(folders['meta_evaluate'] / 'outcomes.npz', outcomes)
  print(report.write(rows, folder))
  workdir.write_json(folder / workdir.RESULTS, rows)


def _check_shapes(task: Task, model: Mapping[str, Any]) -> None:
  """Lets a network with impossible sizes fail before anything is written."""
  try:
    jax.eval_shape(task.init, jax.random.key(0))
  except Exception as error:  # whatever a network may raise
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise InputError(f'the model {dict(model)} cannot be built: {reason}') from error


def _pretrain_folder(start: str) -> str:
  return 'pretrain' if start == MAIN else f'pretrain_{start}'

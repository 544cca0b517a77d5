"""The main job: pretrain, meta-train, meta-evaluate, report; one sub-folder of the workdir each."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from l2o.build import build as build_from
from l2o.models import MODELS
from l2o.rules import RULES
from l2o.tasks import TASKS
from reports import report
from reports.results import save, summarize
from trainers import meta_evaluate, meta_train, pretrain, sources, stage, workdir


class Pipeline(NamedTuple):
  """All stages, built."""

  pretrain: pretrain.Pretrain
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
  rule = build_from(RULES, config['rule'], 'rule')
  return Pipeline(
    pretrain.build(config, data),
    meta_train.build(config, data, task, rule),
    meta_evaluate.build(config, data, task, rule),
    stage.Options(**{name: config[name] for name in stage.Options._fields}),
  )


def run(plan: Pipeline, folder: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Runs the stages in order; each goes on where its checkpoints end."""
  folders = {name: folder / name for name in ('pretrain', 'meta_train', 'meta_evaluate')}
  for path in folders.values():
    path.mkdir(parents=True, exist_ok=True)
  pretrained = pretrain.run(plan.pretrain, folders['pretrain'], plan.options)
  theta = meta_train.run(plan.meta_train, pretrained, folders['meta_train'], plan.options)
  outcomes = meta_evaluate.run(
    plan.meta_evaluate, pretrained, theta, folders['meta_evaluate'], plan.options
  )
  rows = summarize(outcomes, config['meta_evaluate']['bootstrap_samples'], config['seed'])
  save(folders['meta_evaluate'] / 'outcomes.npz', outcomes)
  print(report.write(rows, folder, _direction_names(config['rule'])))
  workdir.write_json(folder / workdir.RESULTS, rows)


def _direction_names(rule: Mapping[str, Any]) -> list[str]:
  """Of a rule that mixes directions, what they are called; a figure's legend."""
  return [d if isinstance(d, str) else d['name'] for d in rule.get('directions', ())]

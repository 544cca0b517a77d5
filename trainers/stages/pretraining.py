"""Pretraining: ordinary supervised training of the network that all tasks start from."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from datasets.prefetch import read
from datasets.sampler import BatchSampler
from l2o.arguments import Whole
from l2o.models import MODELS
from l2o.registry import build as build_from
from l2o.registry import call
from l2o.rules.hand_designed import hand_designed
from l2o.tasks import TASKS
from l2o.types import PyTree
from trainers.checks import blocks
from trainers.harness import stage
from trainers.resources import meshes, run_data
from trainers.stages import reinit, training


def build(config: Mapping[str, Any], data: run_data.Data, start: str) -> training.Train:
  """Builds the stage of one start; no computation, nothing written. Raises InputError."""
  spec = call(blocks.Pretrain, config['pretrain'], 'pretrain')
  where = call(_start, spec.starts[start], f'pretrain.starts.{start}')
  classes = run_data.classes_of(data, where['source'], where['classes'])
  seed = run_data.stream_seed(data.seed, f'pretrain/{where["number"]}')
  model = build_from(MODELS, config['model'], 'model', num_classes=len(classes))
  task = build_from(
    TASKS, config['task'], 'task', model=model, image_shape=run_data.image_shape(data)
  )
  source = data.sources[where['source']]['train']
  batches = BatchSampler(source, classes, spec.batch_size, seed, 'pretrain.batch_size')
  by_host = data.feed.chunk_steps > 0
  return training.Train(
    name='pretraining',
    task=task,
    rule=call(hand_designed, spec.optimizer, 'pretrain.optimizer'),
    theta={'learning_rate': np.float32(spec.learning_rate)},
    sample=lambda number: (
      read(source, batches.sample(number)) if by_host else batches.sample(number)
    ),
    fresh=None,
    store={} if by_host else source.arrays(),
    evaluation=None,
    num_steps=spec.num_steps,
    log_every=spec.log_every,
    eval_every=0,
    mesh=meshes.build_mesh(spec.mesh, 'pretrain', [spec.batch_size]),
    placement=(),
    policy=reinit.stop(),
    seed=seed,
    start=None,
    remedy='lower pretrain.learning_rate',
  )


def _start(source: str, classes: str, number: Whole = 0) -> dict[str, Any]:
  """A network to start from: what it is trained on, and the number of its random draws."""
  return {'source': source, 'classes': classes, 'number': number}


def run(
  plan: training.Train, folder: pathlib.Path, options: stage.Options
) -> tuple[PyTree, PyTree]:
  """Trains, or goes on where the folder's checkpoint ends; returns (params, model_state)."""
  return training.trained(plan, training.run(plan, folder, options).state.inner)

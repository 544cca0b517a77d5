"""Pretraining: ordinary supervised training of the network that all tasks start from."""

import math
import pathlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from clu import parameter_overview
from jax.sharding import Mesh

from datasets.feed import read
from datasets.sampler import BatchSampler
from l2o.build import build as build_from
from l2o.build import call, check_bounds
from l2o.errors import RunError
from l2o.hand_designed import hand_designed
from l2o.models import MODELS
from l2o.tasks import TASKS
from l2o.types import Batch, LearnedRule, Metrics, PyTree, Task
from l2o.unroll import InnerState, fetch, inner_step
from trainers import sharding, sources, stage
from trainers.state import TrainState


class Pretrain(NamedTuple):
  """A pretraining stage, built."""

  task: Task
  rule: LearnedRule
  learning_rate: float
  batches: BatchSampler
  store: PyTree  # the train images, empty if the host feeds them
  read: Callable[[Batch], Batch]  # completes a drawn batch then
  num_steps: int
  log_every: int
  mesh: Mesh
  seed: int


def build(config: Mapping[str, Any], data: sources.Data, start: str) -> Pretrain:
  """Builds the stage of one start; no computation, nothing written. Raises InputError."""
  spec = config['pretrain']
  check_bounds(
    spec,
    'pretrain',
    at_least={'num_steps': 1, 'log_every': 1, 'batch_size': 1},
    above={'learning_rate': 0},
  )
  where = call(_start, spec['starts'][start], f'pretrain.starts.{start}')
  classes = sources.classes_of(data, where['source'], where['classes'])
  seed = sources.stream_seed(data.seed, f'pretrain/{where["number"]}')
  model = build_from(MODELS, config['model'], 'model', num_classes=len(classes))
  task = build_from(
    TASKS, config['task'], 'task', model=model, image_shape=sources.image_shape(data)
  )
  source = data.sources[where['source']]['train']
  return Pretrain(
    task=task,
    rule=call(hand_designed, spec['optimizer'], 'pretrain.optimizer'),
    learning_rate=spec['learning_rate'],
    batches=BatchSampler(source, classes, spec['batch_size'], seed, 'pretrain.batch_size'),
    store={} if data.feed.chunk_steps else source.arrays(),
    read=partial(read, source) if data.feed.chunk_steps else lambda drawn: drawn,
    num_steps=spec['num_steps'],
    log_every=spec['log_every'],
    mesh=sharding.build_mesh(spec['mesh'], 'pretrain', [spec['batch_size']]),
    seed=seed,
  )


def _start(source: str, classes: str, number: int = 0) -> dict[str, Any]:
  """A network to start from: what it is trained on, and the number of its random draws."""
  return {'source': source, 'classes': classes, 'number': number}


def run(plan: Pretrain, folder: pathlib.Path, options: stage.Options) -> tuple[PyTree, PyTree]:
  """Trains, or goes on where the folder's checkpoint ends; returns (params, model_state)."""
  mesh = plan.mesh
  tx = plan.rule.bind({'learning_rate': plan.learning_rate}, plan.num_steps)
  store = jax.device_put(plan.store, sharding.replicated(mesh))
  spread = sharding.batch_sharding(mesh, axis=0)

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    return advance(state, jax.device_put(batch, spread), store)

  advance = jax.jit(_step(plan.task, tx, plan.seed), donate_argnums=0)
  state = _init(plan, tx, mesh)
  (folder / 'parameters.txt').write_text(
    parameter_overview.get_parameter_overview(state.inner.params) + '\n'
  )
  state = stage.train(
    step,
    state,
    feed=lambda number: plan.read(plan.batches.sample(number)),
    stop=plan.num_steps,
    check=_check,
    log_every=plan.log_every,
    unit='step',
    folder=folder,
    options=options,
  )
  params = plan.rule.readout(state.inner.opt_state, state.inner.params)
  return jax.device_get((params, state.inner.model_state))


def _init(plan: Pretrain, tx: Any, mesh: Mesh) -> TrainState:
  def init(key: jax.Array) -> TrainState:
    params, model_state = plan.task.init(key)
    return TrainState(jnp.zeros((), jnp.int32), InnerState(params, model_state, tx.init(params)))

  key = jax.random.fold_in(jax.random.key(plan.seed), 0)  # step k has number k + 1
  return jax.jit(init, out_shardings=sharding.replicated(mesh))(key)


def _step(task: Task, tx: Any, seed: int) -> Any:
  def step(state: TrainState, batch: Batch, store: PyTree) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(jax.random.key(seed), state.step + 1)
    inner, metrics = inner_step(task, tx, state.inner, key, fetch(store, batch))
    return TrainState(state.step + 1, inner), metrics

  return step


def _check(step: int, metrics: Mapping[str, float]) -> None:
  if not math.isfinite(metrics['loss']):
    raise RunError(
      f'pretraining: the loss of step {step} is not finite; lower pretrain.learning_rate'
    )

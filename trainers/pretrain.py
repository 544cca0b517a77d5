"""Pretraining: ordinary supervised training of the network that all tasks start from."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from clu import parameter_overview
from jax.sharding import Mesh

from datasets.sampler import BatchSampler
from l2o.build import build as build_from
from l2o.errors import InputError, RunError
from l2o.models import MODELS
from l2o.rules import RULES
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
  store: PyTree  # the train images
  num_steps: int
  log_every: int
  mesh: Mesh
  seed: int


def build(config: Mapping[str, Any], data: sources.Data) -> Pretrain:
  """Builds the stage; no computation, nothing written. Raises InputError."""
  spec = config['pretrain']
  if spec['num_steps'] < 1 or spec['log_every'] < 1:
    raise InputError('pretrain.num_steps and pretrain.log_every must be at least 1')
  classes = data.parts['pretrain']
  seed = sources.stream_seed(data.seed, sources.PRETRAIN)
  model = build_from(MODELS, config['model'], 'model', num_classes=len(classes))
  task = build_from(
    TASKS, config['task'], 'task', model=model, image_shape=sources.image_shape(data)
  )
  source = data.sources[data.main]['train']
  return Pretrain(
    task=task,
    rule=build_from(RULES, spec['optimizer'], 'rule'),
    learning_rate=spec['learning_rate'],
    batches=BatchSampler(source, classes, spec['batch_size'], seed),
    store=source.arrays(),
    num_steps=spec['num_steps'],
    log_every=spec['log_every'],
    mesh=sharding.build_mesh(spec['mesh']),
    seed=seed,
  )


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
    feed=plan.batches.sample,
    stop=plan.num_steps,
    check=_check,
    log_every=plan.log_every,
    unit='step',
    folder=folder,
    options=options,
  )
  return jax.device_get((state.inner.params, state.inner.model_state))


def _init(plan: Pretrain, tx: Any, mesh: Mesh) -> TrainState:
  def init(key: jax.Array) -> TrainState:
    params, model_state = plan.task.init(key)
    return TrainState(jnp.zeros((), jnp.int32), InnerState(params, model_state, tx.init(params)))

  key = jax.random.fold_in(jax.random.key(plan.seed), plan.num_steps)  # beyond the steps' own
  return jax.jit(init, out_shardings=sharding.replicated(mesh))(key)


def _step(task: Task, tx: Any, seed: int) -> Any:
  def step(state: TrainState, batch: Batch, store: PyTree) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    inner, metrics = inner_step(task, tx, state.inner, key, fetch(store, batch))
    return TrainState(state.step + 1, inner), metrics

  return step


def _check(step: int, metrics: Mapping[str, float]) -> None:
  if not jnp.isfinite(metrics['loss']):
    raise RunError(f'pretraining: the loss of step {step} is not finite; lower the learning rate')

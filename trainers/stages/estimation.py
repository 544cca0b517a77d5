"""The meta-gradient estimator that a config names, for a task, a rule and a mesh."""

from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from l2o.errors import InputError
from l2o.estimators import ESTIMATORS, ONLINE, strategy
from l2o.inner.mapping import on_device
from l2o.inner.rollout import meta_loss
from l2o.inner.unroll import unroll
from l2o.registry import build as build_from
from l2o.types import (
  Estimator,
  EvolutionStrategy,
  LearnedRule,
  MapFn,
  MetaLoss,
  OnlineEstimator,
  Task,
)
from trainers.checks import blocks
from trainers.resources import meshes

Built = Estimator | EvolutionStrategy | OnlineEstimator


def build(
  block: Mapping[str, Any], spec: blocks.MetaTrain, task: Task, rule: LearnedRule, mesh: Mesh,
  fed: bool,
) -> Built:  # fmt: skip
  """The estimator, whose candidates or particles are spread over the mesh's population.

  Args:
    block: the config's `estimator`.
    spec: the stage's block.
    task: the inner problem.
    rule: the optimizer that is meta-trained.
    mesh: the stage's mesh.
    fed: whether the host feeds the images.

  Returns:
    An `EvolutionStrategy` if the host runs its candidates; an `OnlineEstimator`; otherwise an
    `Estimator`, whose metrics are whole on every device.

  Raises:
    InputError: its arguments do not fit, the host cannot feed it, or the mesh cannot divide it.
  """
  built = _named(block, spec, task, rule, mesh)
  if fed and spec.objective == 'mean':
    raise InputError(
      "meta_train.objective must be 'final' where the host feeds the images: set it to 'final', or "
      'set feed.chunk_steps = 0'
    )
  if fed and not isinstance(built, EvolutionStrategy):
    raise InputError(
      f'the estimator {block["name"]} has no ask and tell, so the host cannot feed its candidates: '
      f'set feed.chunk_steps = 0, or use nes or full_es'
    )
  if isinstance(built, OnlineEstimator):
    _check_mesh(built, block['name'], mesh)
  if isinstance(built, EvolutionStrategy) and not fed:
    return strategy.estimator(built, *_dependencies(spec, task, rule, mesh, meshes.gathered_map))
  return built


def inner_steps(
  block: Mapping[str, Any], spec: blocks.MetaTrain, task: Task, rule: LearnedRule, mesh: Mesh
) -> float:
  """Inner steps of an estimate, averaged over the horizons. Arguments as for `build`."""
  built = _named(block, spec, task, rule, mesh)
  if isinstance(built, OnlineEstimator):
    return built.inner_steps
  population = getattr(built, 'population', 1)  # 1: it makes no candidates
  return population * spec.meta_batch * (spec.min_steps + spec.max_steps) / 2


def place_of_state(built: Built, mesh: Mesh) -> NamedSharding:
  """Where an estimator's state lies: each device has its share of the particles."""
  if isinstance(built, OnlineEstimator):
    return NamedSharding(mesh, P('population'))
  return meshes.replicated(mesh)


def _named(
  block: Mapping[str, Any], spec: blocks.MetaTrain, task: Task, rule: LearnedRule, mesh: Mesh
) -> Built:
  spread = meshes.sharded_map if block.get('name') in ONLINE else meshes.gathered_map
  objective, map_fn = _dependencies(spec, task, rule, mesh, spread)
  offered = {'meta_loss': objective, 'map_fn': map_fn, 'unroll': unroll(rule, task)}
  offered |= {'pair_map': on_device(spec.task_mapping), 'max_steps': spec.max_steps}
  return build_from({**ESTIMATORS, **ONLINE}, block, 'estimator', **offered)


def _dependencies(
  spec: blocks.MetaTrain, task: Task, rule: LearnedRule, mesh: Mesh, spread: Any
) -> tuple[MetaLoss, MapFn]:
  objective = meta_loss(rule, task, on_device(spec.task_mapping), spec.objective)
  return objective, spread(mesh, on_device(spec.mapping))


def _check_mesh(built: OnlineEstimator, name: str, mesh: Mesh) -> None:
  if mesh.shape['data'] > 1:
    raise InputError(
      f'meta_train.mesh.data must be 1 with the estimator {name}: particles keep their batches'
    )
  if built.particles % mesh.shape['population']:
    raise InputError(
      f'meta_train.mesh.population = {mesh.shape["population"]} does not divide '
      f'estimator.particles = {built.particles}; change one of them'
    )

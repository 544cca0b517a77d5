"""The programs of stages whose images the host feeds: a chunk of inner steps, from shapes."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from l2o.inner.mapping import on_device
from l2o.inner.rollout import start_with_keys
from l2o.types import LearnedRule, Start, Theta
from trainers.plan.program import Loop, Program, inner_step_of
from trainers.resources import meshes
from trainers.stages import meta_evaluation, meta_training
from trainers.stages.host_rollout import FedEpisodes, Host
from trainers.stages.rows import Row


def generation(plan: meta_training.MetaTrain, start: Start) -> Program:
  """A chunk of a generation's inner steps.

  Args:
    plan: the stage, whose images the host feeds.
    start: (params, model_state) of the network to start from, or their shapes.
  """
  spec = plan.spec
  state = jax.eval_shape(partial(meta_training.init, plan))
  thetas = jax.eval_shape(partial(meta_training.candidates, plan), state)
  horizons = np.arange(spec.min_steps, spec.max_steps + 1)
  program = _chunk(plan, plan.rule, plan.host, start, thetas, spec.meta_batch, horizons)
  return program._replace(
    stage='meta_train',
    name=f'a chunk of a generation, {program.name}',
    calls=round(program.calls * spec.num_generations),
    shapes={**program.shapes, 'theta': state.theta, "theta's optimizer": state.opt_state},
    saved=state,
  )


def evaluation(
  plan: meta_evaluation.MetaEvaluate, row: Row, num_tasks: int, starts: Mapping[str, Start]
) -> Program:
  """A chunk of an evaluation of some settings.

  Args:
    plan: the stage, whose images the host feeds.
    row: the optimizer and its settings.
    num_tasks: the number of tasks that it is evaluated on.
    starts: name -> (params, model_state), or their shapes.
  """
  first, horizons = plan.experiments[0], np.array(plan.spec.num_steps)
  at_once = min(plan.tasks_at_once, plan.spec.num_tasks)
  start = starts.get(first.start)
  program = _chunk(plan, row.rule, first.host, start, row.thetas, at_once, horizons)
  repeats = len(plan.experiments) * len(horizons) * math.ceil(num_tasks / at_once)
  return program._replace(
    stage='meta_evaluate',
    name=f'{row.family}, {program.name}',
    calls=round(program.calls * repeats),
  )


def _chunk(
  plan: Any,
  rule: LearnedRule,
  host: Host,
  start: Start | None,
  thetas: Theta,
  tasks: int,
  horizons: np.ndarray,
) -> Program:
  """Steps of every theta on some episodes; `calls` is the mean number of chunks of an episode."""
  whole = meshes.replicated(plan.mesh)
  sampler = plan.experiments[0].tasks if hasattr(plan, 'experiments') else plan.tasks
  size = sampler.sample(0, 1, 1)['train']['label'].shape[-1]
  image, axes = host.train.read(0), (host.chunk_steps, tasks, size)
  chunk = {
    'image': jax.ShapeDtypeStruct((*axes, *image.shape), image.dtype),
    'label': jax.ShapeDtypeStruct(axes, np.int32),
  }

  def begin(start: Start | None) -> Any:
    keys = jax.random.split(jax.random.key(0), (2, tasks))
    return start_with_keys(plan.task, keys, start, {'train': {}, 'evaluation': {}})

  episodes = jax.eval_shape(begin, start)
  runner = FedEpisodes(plan.task, rule, plan.mesh, on_device(plan.spec.mapping))
  lowered = runner.lower(
    *meshes.shaped((thetas, episodes), whole),
    meshes.shaped(chunk, meshes.batch_sharding(plan.mesh, axis=2)),
  )
  count = jax.tree.leaves(thetas)[0].shape[0]
  one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), (thetas, episodes))
  batch = {name: jax.ShapeDtypeStruct(x.shape[2:], x.dtype) for name, x in chunk.items()}
  body = inner_step_of(plan.task, rule, one[0], {}, batch, plan.mesh)
  calls = float(np.mean(np.ceil(horizons / host.chunk_steps)))
  times = tasks * count * float(np.mean(horizons)) / calls
  name = f'{tasks} tasks x {count} candidates' if count > 1 else f'{tasks} tasks'
  held = {'parameters': one[1].params, 'theta': one[0]}
  return Program(
    '',
    name,
    lowered,
    plan.mesh,
    calls,
    math.ceil(times / count * size),
    held,
    {},
    Loop(body, times),
  )

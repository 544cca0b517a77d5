"""The programs of a run, lowered from shapes: nothing is allocated, and no step is taken."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from l2o.errors import InputError
from l2o.estimators import ESTIMATORS
from l2o.inner.rollout import begin
from l2o.inner.step import fetch, inner_step
from l2o.registry import build as build_from
from l2o.types import LearnedRule, Params, PyTree, Task, Theta
from trainers.jobs import pipeline, training_job
from trainers.resources import meshes
from trainers.stages import meta_evaluation, meta_training, training
from trainers.stages.rows import Row, at_setting

Shapes = Mapping[str, PyTree]  # what they are of -> shapes


class Loop(NamedTuple):
  """The body of a program's inner loop, whose operations the compiler counts once."""

  lowered: jax.stages.Lowered
  times: float  # that a call of the program executes it, over all devices


class Program(NamedTuple):
  """A program of a run."""

  stage: str
  name: str
  lowered: jax.stages.Lowered
  mesh: Mesh
  calls: int
  examples: int  # that a call trains on
  shapes: Shapes  # the parts of what is saved, and others of interest
  saved: PyTree  # shapes of the state in a checkpoint
  loop: Loop | None = None


def of(config: Mapping[str, Any]) -> list[Program]:
  """The programs of a frozen config, see `of_job` and `of_pipeline`."""
  if 'train' in config:
    return of_job(training_job.build(config))
  return of_pipeline(pipeline.build(config))


def of_job(job: training_job.Job) -> list[Program]:
  """The step of a training job."""
  return [_step('train', job.plan)]


def of_pipeline(plan: pipeline.Pipeline) -> list[Program]:
  """A step of each pretraining, a generation, and an evaluation of each optimizer.

  Raises:
    InputError: the host feeds the images, whose programs have no fixed number of calls.
  """
  if plan.meta_train.host:
    raise InputError(
      '--plan has no programs for images that the host feeds: set feed.chunk_steps=0'
    )
  found = [_step(f'pretrain, {name}', stage) for name, stage in plan.pretrain.items()]
  starts = {name: training.trained_shapes(stage) for name, stage in plan.pretrain.items()}
  starts |= {name: given.start for name, given in plan.given.items()}
  if plan.meta_train.spec.num_generations:
    found.append(_generation(plan.meta_train, starts))
  return found + _evaluations(plan.meta_evaluate, plan.params, starts)


def _step(stage: str, plan: training.Train) -> Program:
  lowered = training.lower(plan)
  state, batches, _ = lowered.args_info[0]
  inner = state.inner
  parts = {'parameters': inner.params, 'model state': inner.model_state}
  parts['optimizer state'] = inner.opt_state
  examples = jax.tree.leaves(batches[0])[0].shape[0] if jax.tree.leaves(batches[0]) else 0
  return Program(stage, 'a step', lowered, plan.mesh, plan.num_steps, examples, parts, state)


def _generation(plan: meta_training.MetaTrain, starts: Mapping[str, Any]) -> Program:
  lowered = meta_training.lower(plan, starts[plan.spec.start])
  state, (drawn, _), *_ = lowered.args_info[0]
  tasks, _, size = drawn['train']['label'].shape
  built = build_from(ESTIMATORS, plan.estimator, 'estimator', meta_loss=None, map_fn=None)
  population = getattr(built, 'population', 1)  # 1: it makes no candidates
  steps = (plan.spec.min_steps + plan.spec.max_steps) / 2  # of a candidate on a task, on average
  params = jax.eval_shape(lambda key: plan.task.init(key)[0], jax.random.key(0))
  theta = jax.eval_shape(plan.rule.init, jax.random.key(0), params)
  times = population * tasks * steps
  loop = Loop(_inner(plan.task, plan.rule, theta, plan.stores['train'], drawn, plan.mesh), times)
  parts = {'parameters': params, 'theta': state.theta, "theta's optimizer": state.opt_state}
  calls, examples = plan.spec.num_generations, math.ceil(times * size)
  return Program(
    'meta_train', 'a generation', lowered, plan.mesh, calls, examples, parts, state, loop
  )


def _evaluations(
  plan: meta_evaluation.MetaEvaluate, params: Params, starts: Mapping[str, Any]
) -> list[Program]:
  theta = jax.eval_shape(plan.rule.init, jax.random.key(0), params)
  stacked = jax.eval_shape(partial(jax.tree.map, lambda x: x[None]), theta)
  learned = Row(plan.rule_name, [''], plan.rule, stacked, False)
  found, tuning = [], plan.spec.tuning_tasks
  for row in (learned, *plan.baselines):
    if tuning and row.is_grid:
      found.append(_evaluation(plan, row, tuning, starts))
      chosen = jax.eval_shape(at_setting, row.thetas, np.int32(0))
      row = row._replace(settings=row.settings[:1], thetas=chosen)
    found.append(_evaluation(plan, row, plan.spec.num_tasks, starts))
  return found


def _evaluation(
  plan: meta_evaluation.MetaEvaluate, row: Row, num_tasks: int, starts: Mapping[str, Any]
) -> Program:
  lowered = meta_evaluation.lower(plan, row, num_tasks, starts)
  thetas, tasks = lowered.args_info[0]
  count, _, size = tasks.episodes.train['label'].shape
  theta = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), thetas)
  drawn = {'train': tasks.episodes.train}
  store = plan.experiments[0].stores['train']
  times = count * len(row.settings) * float(np.mean(plan.spec.num_steps))
  loop = Loop(_inner(plan.task, row.rule, theta, store, drawn, plan.mesh), times)
  calls = len(plan.experiments) * len(plan.spec.num_steps)
  name = f'{row.family}, {count} tasks x {len(row.settings)} settings'
  examples = math.ceil(times * size)
  return Program(
    'meta_evaluate', name, lowered, plan.mesh, calls, examples, {'theta': theta}, {}, loop
  )


def _inner(
  task: Task, rule: LearnedRule, theta: Theta, store: PyTree, drawn: Any, mesh: Mesh
) -> jax.stages.Lowered:
  """One inner step of one candidate on one task, on one device."""

  def step(theta: Theta, state: Any, store: PyTree, batch: Any, steps: jax.Array) -> Any:
    tx = rule.bind(theta, steps)
    batch = fetch(store, batch)
    return inner_step(task, tx, state, jax.random.key(0), batch, lambda: batch)[0]

  def start(theta: Theta) -> Any:
    return begin(rule.bind(theta, 10), *task.init(jax.random.key(0)))

  alone = meshes.replicated(meshes.first_of(mesh))
  theta = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), theta)
  state = jax.eval_shape(start, theta)
  batch = {name: jax.ShapeDtypeStruct(x.shape[2:], x.dtype) for name, x in drawn['train'].items()}
  shapes = meshes.shaped((theta, state, store, batch, np.int32(10)), alone)
  return jax.jit(step, donate_argnums=1).lower(*shapes)

"""The programs of a run, lowered from shapes: nothing is allocated, and no step is taken."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from l2o.types import Batch, Params
from trainers.jobs import pipeline, training_job
from trainers.plan import fed_programs, job_programs
from trainers.plan.program import Loop, Program, inner_step_of
from trainers.stages import estimation, meta_evaluation, meta_training, training
from trainers.stages.rows import Row, at_setting


def of(config: Mapping[str, Any]) -> Iterator[Program]:
  """The programs of a frozen config, one after another; see `of_job` and `of_pipeline`."""
  if 'train' in config:
    return of_job(training_job.build(config))
  return of_pipeline(pipeline.build(config))


def of_job(job: training_job.Job) -> Iterator[Program]:
  """The step of a training job, its evaluation, and its test."""
  yield from job_programs.of('train', job.plan)
  if job.batch_source.test is not None:
    yield job_programs.test(job)


def of_pipeline(plan: pipeline.Pipeline) -> Iterator[Program]:
  """A step of each pretraining, a generation, and an evaluation of each optimizer.

  If the host feeds the images: a chunk of a generation or of an evaluation.
  """
  for name, stage in plan.pretrain.items():
    yield from job_programs.of(f'pretrain, {name}', stage)
  starts = {name: training.trained_shapes(stage) for name, stage in plan.pretrain.items()}
  starts |= {name: given.start for name, given in plan.given.items()}
  if plan.meta_train.spec.num_generations:
    build = fed_programs.generation if plan.meta_train.host else _generation
    yield build(plan.meta_train, starts[plan.meta_train.spec.start])
  yield from _evaluations(plan.meta_evaluate, plan.params, starts)


def _generation(plan: meta_training.MetaTrain, start: Any) -> Program:
  lowered = meta_training.lower(plan, start)
  state, (drawn, _), *_ = lowered.args_info[0]
  *_, size = drawn['train']['label'].shape
  times = estimation.inner_steps(plan.estimator, plan.spec, plan.task, plan.rule, plan.mesh)
  params = jax.eval_shape(lambda key: plan.task.init(key)[0], jax.random.key(0))
  theta = jax.eval_shape(plan.rule.init, jax.random.key(0), params)
  batch = _one_batch(drawn['train'])
  body = inner_step_of(plan.task, plan.rule, theta, plan.stores['train'], batch, plan.mesh)
  loop = Loop(body, times)
  parts = {'parameters': params, 'theta': state.theta, "theta's optimizer": state.opt_state}
  calls, examples = plan.spec.num_generations, math.ceil(times * size)
  return Program(
    'meta_train', 'a generation', lowered, plan.mesh, calls, examples, parts, state, loop
  )


def _evaluations(
  plan: meta_evaluation.MetaEvaluate, params: Params, starts: Mapping[str, Any]
) -> Iterator[Program]:
  theta = jax.eval_shape(plan.rule.init, jax.random.key(0), params)
  stacked = jax.eval_shape(partial(jax.tree.map, lambda x: x[None]), theta)
  learned = Row(plan.rule_name, [''], plan.rule, stacked, False)
  tuning = plan.spec.tuning_tasks
  build = fed_programs.evaluation if plan.experiments[0].host else _evaluation
  for row in (learned, *plan.baselines):
    if tuning and row.is_grid:
      yield build(plan, row, tuning, starts)
      chosen = jax.eval_shape(at_setting, row.thetas, np.int32(0))
      row = row._replace(settings=row.settings[:1], thetas=chosen)
    yield build(plan, row, plan.spec.num_tasks, starts)


def _evaluation(
  plan: meta_evaluation.MetaEvaluate, row: Row, num_tasks: int, starts: Mapping[str, Any]
) -> Program:
  lowered = meta_evaluation.lower(plan, row, num_tasks, starts)
  thetas, tasks = lowered.args_info[0]
  count, _, size = tasks.episodes.train['label'].shape
  theta = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), thetas)
  store = plan.experiments[0].stores['train']
  times = count * len(row.settings) * float(np.mean(plan.spec.num_steps))
  batch = _one_batch(tasks.episodes.train)
  loop = Loop(inner_step_of(plan.task, row.rule, theta, store, batch, plan.mesh), times)
  calls = len(plan.experiments) * len(plan.spec.num_steps)
  name = f'{row.family}, {count} tasks x {len(row.settings)} settings'
  examples = math.ceil(times * size)
  return Program(
    'meta_evaluate', name, lowered, plan.mesh, calls, examples, {'theta': theta}, {}, loop
  )


def _one_batch(train: Batch) -> Batch:
  """The shapes of one batch [B, ...] of the episodes' batches [b, K, B, ...]."""
  return {name: jax.ShapeDtypeStruct(x.shape[2:], x.dtype) for name, x in train.items()}

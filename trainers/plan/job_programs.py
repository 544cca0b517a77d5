"""The programs of a training job: its step, its evaluation, and its test."""

import math
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from l2o.types import PyTree
from trainers.jobs import training_job
from trainers.plan.analysis import on_a_device, size
from trainers.plan.program import Loop, Program, sharing
from trainers.resources import meshes
from trainers.stages import training


def of(stage: str, plan: training.Train) -> Iterator[Program]:
  """The step and, of a job with an evaluation batch, the evaluation.

  Args:
    stage: the job's name in the plan.
    plan: the job; pretraining is one.
  """
  lowered = training.lower(plan)
  state, batches, _ = lowered.args_info[0]
  inner = state.inner
  parts = {'parameters': inner.params, 'model state': inner.model_state}
  parts['optimizer state'] = inner.opt_state
  examples = jax.tree.leaves(batches[0])[0].shape[0] if jax.tree.leaves(batches[0]) else 0
  calls, held = plan.num_steps, _evaluated(plan)
  yield Program(stage, 'a step', lowered, plan.mesh, calls, examples, parts, state, resident=held)
  if plan.evaluation is not None:
    yield _evaluation(stage, plan)


def _evaluation(stage: str, plan: training.Train) -> Program:
  """The evaluation, which each device computes whole."""
  lowered = training.lower_evaluation(plan, plan.evaluation)
  loop = _by_example(
    lambda batch: training.lower_evaluation(plan, batch), plan.evaluation, plan.mesh
  )
  calls = math.ceil(plan.num_steps / (plan.eval_every or plan.num_steps))
  given, state = training.held_shapes(plan)
  meanwhile = {'theta and store': on_a_device(given), 'kept state': on_a_device(state.kept)}
  at_the_end = {'last state': on_a_device(state)}  # while the best is evaluated
  held = max(meanwhile, at_the_end, key=lambda parts: sum(parts.values()))
  shapes = {'evaluation batch': lowered.args_info[0][1]}
  return Program(
    stage, 'an evaluation', lowered, plan.mesh, calls, 0, shapes, {}, loop, _present(held)
  )


def test(job: training_job.Job) -> Program:
  """The test of the best state, which one device computes.

  Args:
    job: a job with a test batch.
  """
  plan, batch = job.plan, job.batch_source.test
  lowered, alone = training_job.lower_test(job, batch), meshes.first_of(plan.mesh)
  loop = _by_example(lambda batch: training_job.lower_test(job, batch), batch, alone)
  state = training.held_shapes(plan)[1]
  held = {'last state': on_a_device(state), 'best state': on_a_device(state.inner)}
  shapes = {'test batch': lowered.args_info[0][2]}
  return Program(
    'train', 'the test', lowered, alone, 1, 0, shapes, {}, loop, _present(held) | _evaluated(plan)
  )


def _evaluated(plan: training.Train) -> dict[str, int]:
  """Bytes of what `training.Evaluation` holds on every device; its store is a second copy."""
  if plan.evaluation is None:
    return {}
  batch, store = jax.eval_shape(lambda *held: held, plan.evaluation, plan.store)
  return _present({'evaluation batch': size(batch), "the evaluation's store": size(store)})


def _present(parts: dict[str, int]) -> dict[str, int]:
  return {name: count for name, count in parts.items() if count}


def _by_example(
  lower: Callable[[PyTree], jax.stages.Lowered], batch: PyTree, mesh: Mesh
) -> Loop | None:
  """The evaluation of one example, since one in parts is a loop; None if there is no such."""
  counts = {np.shape(x)[:1] for x in jax.tree.leaves(batch)}
  count, *others = counts or {()}
  if others or not count or count[0] < 2:
    return None
  one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), batch)
  return Loop(lower(one), count[0] * sharing(mesh))

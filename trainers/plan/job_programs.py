"""The programs of a training job: its step, its evaluation, and its test."""

import math
from collections.abc import Iterator

import jax

from trainers.jobs import training_job
from trainers.plan.analysis import on_a_device, size
from trainers.plan.program import Program
from trainers.resources import meshes
from trainers.stages import training


def of(stage: str, plan: training.Train) -> Iterator[Program]:
  """The step and, for a job with an evaluation batch, the evaluation.

  Args:
    stage: the job's name in the plan.
    plan: the job, which may be a pretraining.
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
  """The evaluation, which every device computes in full."""
  lowered = training.lower_evaluation(plan, plan.evaluation)
  calls = math.ceil(plan.num_steps / (plan.eval_every or plan.num_steps))
  given, state = training.held_shapes(plan)
  meanwhile = {'theta and store': on_a_device(given), 'kept state': on_a_device(state.kept)}
  at_the_end = {'last state': on_a_device(state)}  # while the best is evaluated
  held = max(meanwhile, at_the_end, key=lambda parts: sum(parts.values()))
  shapes = {'evaluation batch': lowered.args_info[0][1]}
  return Program(
    stage, 'an evaluation', lowered, plan.mesh, calls, 0, shapes, {}, resident=_present(held)
  )


def test(job: training_job.Job) -> Program:
  """The test of the best state, which one device computes.

  Args:
    job: a job with a test batch.
  """
  plan, batch = job.plan, job.batch_source.test
  lowered, alone = training_job.lower_test(job, batch), meshes.first_of(plan.mesh)
  state = training.held_shapes(plan)[1]
  states = {'last state': on_a_device(state), 'best state': on_a_device(state.inner)}
  held = _present(states) | _evaluated(plan)
  shapes = {'test batch': lowered.args_info[0][2]}
  return Program('train', 'the test', lowered, alone, 1, 0, shapes, {}, resident=held)


def _evaluated(plan: training.Train) -> dict[str, int]:
  """Bytes that `training.Evaluation` holds on every device; its store is a second copy."""
  if plan.evaluation is None:
    return {}
  batch, store = jax.eval_shape(lambda *held: held, plan.evaluation, plan.store)
  return _present({'evaluation batch': size(batch), "the evaluation's store": size(store)})


def _present(parts: dict[str, int]) -> dict[str, int]:
  return {name: count for name, count in parts.items() if count}

"""A program of a run, as a plan describes it."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from l2o.inner.rollout import begin
from l2o.inner.step import fetch, inner_step
from l2o.types import Batch, LearnedRule, PyTree, Task, Theta
from trainers.resources import meshes

Shapes = Mapping[str, PyTree]  # name -> shapes


class Loop(NamedTuple):
  """The body of a program's inner loop, whose operations the compiler counts once."""

  lowered: jax.stages.Lowered
  times: float  # that one call of the program executes it, over all devices


class Program(NamedTuple):
  """A program of a run."""

  stage: str
  name: str
  lowered: jax.stages.Lowered
  mesh: Mesh
  calls: int
  examples: int  # that one call trains on; candidates share the examples that the host feeds
  shapes: Shapes  # parts of the saved state, and others of interest
  saved: PyTree  # shapes of the state in a checkpoint
  loop: Loop | None = None
  resident: Mapping[str, int] = {}  # what else stays on every device meanwhile -> its bytes


def sharing(mesh: Mesh) -> int:
  """The number of devices that share a call's work; copies of the mesh repeat it."""
  return math.prod(n for axis, n in mesh.shape.items() if axis != 'copy')


def inner_step_of(
  task: Task, rule: LearnedRule, theta: Theta, store: PyTree, batch: Batch, mesh: Mesh
) -> jax.stages.Lowered:
  """One inner step of one candidate on one task, on one device.

  Args:
    task: the inner problem.
    rule: the optimizer.
    theta: the shapes of theta.
    store: arrays that batches look up.
    batch: shapes of a batch.
    mesh: the step is compiled for its first device.
  """

  def step(theta: Theta, state: Any, store: PyTree, batch: Any, steps: jax.Array) -> Any:
    tx = rule.bind(theta, steps)
    batch = fetch(store, batch)
    return inner_step(task, tx, state, jax.random.key(0), batch, lambda: batch)[0]

  def start(theta: Theta) -> Any:
    return begin(rule.bind(theta, 10), *task.init(jax.random.key(0)))

  alone = meshes.replicated(meshes.first_of(mesh))
  theta = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), theta)
  state = jax.eval_shape(start, theta)
  shapes = meshes.shaped((theta, state, store, batch, np.int32(10)), alone)
  return jax.jit(step, donate_argnums=1).lower(*shapes)

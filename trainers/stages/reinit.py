"""Policies for a training job whose loss is not finite: stop, or restart from a sound state.

The two ways to restart are the re-initialisation baselines of HUB, arXiv 2305.16823, sec. 4.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from l2o.inner.step import InnerState
from l2o.registry import check_bounds
from l2o.types import PyTree

POLICIES = {
  'stop': 'trainers.stages.reinit:stop',
  'increase_steps': 'trainers.stages.reinit:increase_steps',
  'min_loss': 'trainers.stages.reinit:min_loss',
}


class Kept(NamedTuple):
  """The state to restart from, and the number of restarts so far."""

  inner: InnerState
  loss: jax.Array  # [] float32, at its parameters
  num_steps: jax.Array  # [] float32, the horizon passed to the optimizer
  restarts: jax.Array  # [] int32


class Policy(NamedTuple):
  """A policy; `better(loss, kept loss)` decides when a sound state replaces the kept one."""

  stops: bool
  factor: float  # multiplies the horizon at each restart
  better: Callable[[jax.Array, jax.Array], jax.Array]

  def init(self, inner: InnerState, num_steps: int) -> Kept | None:
    """The initial kept state: a copy, since the state itself is donated."""
    if self.stops:
      return None
    copied = jax.tree.map(jnp.copy, inner)
    loss, steps = jnp.float32(jnp.inf), jnp.float32(num_steps)
    return Kept(copied, loss, steps, jnp.zeros((), jnp.int32))

  def apply(
    self, kept: Kept | None, before: InnerState, after: InnerState, loss: jax.Array
  ) -> tuple[InnerState, Kept | None]:
    """The state after a step from `before`, at which the loss was `loss`."""
    if kept is None:
      return after, None
    sound = jnp.isfinite(loss)
    keep = sound & self.better(loss, kept.loss)
    inner = _select(keep, before, kept.inner)
    return _select(sound, after, inner), Kept(
      inner,
      jnp.where(keep, loss, kept.loss).astype(jnp.float32),
      jnp.where(sound, kept.num_steps, self.factor * kept.num_steps),
      kept.restarts + ~sound,
    )


def stop() -> Policy:
  """Stop the run with an error that names the step."""
  return Policy(True, 1.0, lambda loss, kept: jnp.array(False))


def increase_steps(factor: float = 1.25) -> Policy:
  """Continue from the last state with a finite loss, with a longer horizon.

  Args:
    factor: multiplies the horizon; above 1.

  Raises:
    InputError: the factor does not lengthen the horizon.
  """
  check_bounds({'factor': factor}, 'train.nonfinite', above={'factor': 1})
  return Policy(False, factor, lambda loss, kept: jnp.array(True))


def min_loss() -> Policy:
  """Continue from the state with the lowest loss so far."""
  return Policy(False, 1.0, lambda loss, kept: loss < kept)


def _select(condition: jax.Array, yes: PyTree, no: PyTree) -> Any:
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)

"""What a training job does when its loss is not finite: stop, or restart from a sound state.

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
  """The state to restart from, and how often that was done."""

  inner: InnerState
  loss: jax.Array  # [] float32, of its parameters
  num_steps: jax.Array  # [] float32, the horizon the optimizer is told
  restarts: jax.Array  # [] int32


class Policy(NamedTuple):
  """A policy; `better(loss, kept loss)` says when a sound state replaces the kept one."""

  stops: bool
  factor: float  # of the horizon, at each restart
  better: Callable[[jax.Array, jax.Array], jax.Array]

  def init(self, inner: InnerState, num_steps: int) -> Kept | None:
    """What is kept at the start: a copy, since the state itself is donated."""
    if self.stops:
      return None
    copied = jax.tree.map(jnp.copy, inner)
    loss, steps = jnp.float32(jnp.inf), jnp.float32(num_steps)
    return Kept(copied, loss, steps, jnp.zeros((), jnp.int32))

  def apply(
    self, kept: Kept | None, before: InnerState, after: InnerState, loss: jax.Array
  ) -> tuple[InnerState, Kept | None]:
    """The next state after a step from `before`, where the loss was `loss`."""
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
  """End the run with an error that names the step."""
  return Policy(True, 1.0, lambda loss, kept: jnp.array(False))


def increase_steps(factor: float = 1.25) -> Policy:
  """Go on from the last state whose loss was finite, with a longer horizon.

  Args:
    factor: of the horizon; above 1.

  Raises:
    InputError: a factor that does not lengthen it.
  """
  check_bounds({'factor': factor}, 'train.nonfinite', above={'factor': 1})
  return Policy(False, factor, lambda loss, kept: jnp.array(True))


def min_loss() -> Policy:
  """Go on from the state with the lowest loss seen."""
  return Policy(False, 1.0, lambda loss, kept: loss < kept)


def _select(condition: jax.Array, yes: PyTree, no: PyTree) -> Any:
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)

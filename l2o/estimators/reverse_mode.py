"""The gradient of the meta-objective by reverse-mode differentiation, full or truncated.

Full: a window is an episode and the gradient is exact. Truncated: it does not reach back beyond the
start of the window, so it is biased, but without the noise of evolution strategies. The backward
pass runs in segments of about sqrt(W) steps; only their carries are stored (Chen et al., "Training
Deep Nets with Sublinear Memory Cost", arXiv 1604.06174): memory for 2 sqrt(W) steps instead of W.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from l2o.arguments import Count, checked
from l2o.errors import InputError
from l2o.estimators.online import (
  Particle,
  Seen,
  Spec,
  check,
  estimator,
  measured,
  objective_values,
  window_of,
)
from l2o.inner.mapping import vectorized
from l2o.types import MapFn, Metrics, OnlineEstimator, Theta, Unroll


@checked
def reverse_mode(
  unroll: Unroll,
  map_fn: MapFn = vectorized,
  particles: Count = 1,
  window: Count | None = None,
  max_steps: Count | None = None,
  policy: str = 'cut',
  objective: str = 'mean',
  stagger: bool = True,
) -> OnlineEstimator:
  """The gradient through the inner loop, of the whole episode or of a window.

  Args:
    unroll: the inner problem.
    map_fn: strategy for mapping over particles.
    particles: N, independent inner problems.
    window: W, inner steps of an estimate; None for whole episodes.
    max_steps: the longest horizon, for whole episodes; the horizon itself is traced, and a longer
      one is truncated.
    policy: 'cut' or 'roll', as in `gpes`; for windows only.
    objective: 'mean', 'window_end' or 'final', as in `gpes`.
    stagger: whether first episodes end early, so that particles spread over the episode.

  Raises:
    InputError: a number out of bounds, neither window nor max_steps, an unknown policy or
      objective, 'roll' with 'final' or with whole episodes.

  Example:
    >>> from l2o.types import TaskBatch
    >>> unroll = Unroll(
    ...   init=lambda theta, key, tasks: jnp.float32(2.0),
    ...   step=lambda theta, s, number, key, tasks: (s + theta, (s + theta) ** 2),
    ... )
    >>> exact, tasks = reverse_mode(unroll, max_steps=10), TaskBatch((), {}, 2)
    >>> theta, key = jnp.float32(0.5), jax.random.key(0)
    >>> grad, _, _ = exact.estimate(theta, exact.init(theta, key, tasks), key, tasks)
    >>> float(grad)  # of ((2 + theta)^2 + (2 + 2 theta)^2) / 2
    8.5
  """
  length = window or max_steps
  if length is None:
    raise InputError('estimator.max_steps must be the longest horizon where window is None')
  if window is None and policy == 'roll':
    raise InputError("estimator.policy must be 'cut' where window is None, not 'roll'")
  segment = math.ceil(math.sqrt(length))
  spec = Spec(particles, length, policy, objective, stagger, signs=(0.0,), segment=segment)
  return estimator(spec, unroll, partial(_differentiated, check(spec), unroll), map_fn)


def _differentiated(
  spec: Spec, unroll: Unroll, particle: Particle, shared: tuple[Any, ...]
) -> tuple[Theta, Particle, Metrics]:
  """The gradient of a particle's window, the particle after it and its metrics."""
  theta, key, tasks = shared

  def loss(theta: Theta) -> tuple[jax.Array, tuple[Particle, Seen, jax.Array]]:
    later, seen = window_of(spec, unroll, theta, particle, key, tasks)
    values = objective_values(spec, unroll, theta, later, seen, tasks)
    return values[0], (later, seen, values)

  grad, (later, seen, values) = jax.grad(loss, has_aux=True)(theta)
  leaves = jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(grad)])
  finite = jnp.isfinite(seen.loss) & jnp.isfinite(values) & jnp.all(leaves)
  return grad, later, measured(spec, later, seen, values, finite)

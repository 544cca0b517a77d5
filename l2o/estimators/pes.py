"""Persistent evolution strategies: every window has its own perturbation.

A loss is credited to the sum of the episode's perturbations so far, its window's included. Unbiased
for the gradient in theta of E J(theta + eps_1, ..., theta + eps_n), each window with its own eps.

Source: Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
with Persistent Evolution Strategies", arXiv 2112.13835.
"""

from l2o.arguments import Count, Positive, checked
from l2o.estimators.online import Spec, check, evolution
from l2o.inner.mapping import vectorized
from l2o.types import MapFn, OnlineEstimator, Unroll


@checked
def pes(
  unroll: Unroll,
  map_fn: MapFn = vectorized,
  pair_map: MapFn = vectorized,
  particles: Count = 16,
  window: Count = 20,
  sigma: Positive = 0.05,
  policy: str = 'cut',
  objective: str = 'mean',
  stagger: bool = True,
) -> OnlineEstimator:
  """Persistent evolution strategies; `l2o.estimators.online` has the formula.

  Args:
    unroll: the inner problem.
    map_fn: strategy for mapping over particles.
    pair_map: the same for the two runs of a particle; convolutions on a CPU run best one by one.
    particles: N, antithetic pairs.
    window: W, inner steps of an estimate.
    sigma: standard deviation of the noise.
    policy: 'cut' or 'roll', as in `gpes`.
    objective: 'mean', 'window_end' or 'final', as in `gpes`.
    stagger: whether first episodes end early, so that particles spread over the episode.

  Raises:
    InputError: a number out of bounds, an unknown policy or objective, 'final' with 'roll'.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from l2o.types import TaskBatch
    >>> unroll = Unroll(
    ...   init=lambda theta, key, tasks: jnp.float32(2.0),
    ...   step=lambda theta, s, number, key, tasks: (s + theta, (s + theta) ** 2),
    ... )
    >>> online, tasks = pes(unroll, particles=2000, window=2), TaskBatch((), {}, 6)
    >>> theta, key = jnp.float32(0.5), jax.random.key(0)
    >>> state = online.init(theta, key, tasks)
    >>> grad, state, metrics = online.estimate(theta, state, key, tasks)
    >>> bool(grad > 0), int(metrics['inner_steps'])
    (True, 8000)
  """
  spec = Spec(particles, window, policy, objective, stagger, sigma=sigma, pair_map=pair_map)
  return evolution(check(spec), unroll, map_fn)

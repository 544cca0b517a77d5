"""Noise-reuse evolution strategies: one perturbation for the whole episode.

Unbiased for the gradient of E J(theta + eps), as full evolution strategies are, with an estimate
from each window. ES-Single is the same algorithm.

Sources: Li et al., "Variance-Reduced Gradient Estimation via Noise-Reuse in Online Evolution
Strategies", arXiv 2304.12180; Vicol et al., "Low-Variance Gradient Estimation in Unrolled
Computation Graphs with ES-Single", arXiv 2304.11153.
"""

from l2o.arguments import Count, Positive, checked
from l2o.estimators.online import ONCE, Spec, check, evolution
from l2o.inner.mapping import vectorized
from l2o.types import MapFn, OnlineEstimator, Unroll


@checked
def nres(
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
  """Noise-reuse evolution strategies; ES-Single is the same algorithm.

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
    >>> online, tasks = nres(unroll, particles=2000, window=2), TaskBatch((), {}, 6)
    >>> theta, key = jnp.float32(0.5), jax.random.key(0)
    >>> state = online.init(theta, key, tasks)
    >>> grad, state, metrics = online.estimate(theta, state, key, tasks)
    >>> bool(grad > 0), int(metrics['inner_steps'])
    (True, 8000)
  """
  spec = Spec(
    particles, window, policy, objective, stagger, sigma=sigma, period=ONCE, pair_map=pair_map
  )
  return evolution(check(spec), unroll, map_fn)

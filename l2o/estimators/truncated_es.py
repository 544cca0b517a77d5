"""Truncated evolution strategies: each window's losses are credited to its own perturbation alone.

A particle keeps one run, with theta itself, and each window's pair starts from it: half as many
steps again, but less variance than with runs that keep the perturbation. Biased: the effect of
theta on the window's start is not seen.

Source: Metz et al., "Understanding and correcting pathologies in the training of learned
optimizers", arXiv 1810.10180.
"""

from l2o.arguments import Count, Positive, checked
from l2o.estimators.online import PAIR, Spec, check, evolution
from l2o.inner.mapping import vectorized
from l2o.types import MapFn, OnlineEstimator, Unroll


@checked
def truncated_es(
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
  """Truncated evolution strategies, biased and of small variance.

  Args:
    unroll: the inner problem.
    map_fn: strategy for mapping over particles.
    pair_map: the same for the three runs of a particle; convolutions on a CPU run best one by one.
    particles: N, antithetic pairs with a run between them.
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
    >>> online, tasks = truncated_es(unroll, particles=2000, window=2), TaskBatch((), {}, 6)
    >>> theta, key = jnp.float32(0.5), jax.random.key(0)
    >>> state = online.init(theta, key, tasks)
    >>> grad, state, metrics = online.estimate(theta, state, key, tasks)
    >>> bool(grad > 0), int(metrics['inner_steps'])
    (True, 12000)
  """
  spec = Spec(
    particles, window, policy, objective, stagger, (*PAIR, 0.0), sigma, None, False,
    pair_map=pair_map,
  )  # fmt: skip
  return evolution(check(spec), unroll, map_fn)

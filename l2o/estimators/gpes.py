"""Generalized persistent evolution strategies: one perturbation for every `period` inner steps.

A loss is credited to the sum of the episode's perturbations so far. With a period of one window
this is PES, with a period of the whole episode NRES. Unbiased for the gradient in theta of
E J(theta + eps_1, ..., theta + eps_m), with a separate eps for every `period` steps.

Source: Li et al., "Variance-Reduced Gradient Estimation via Noise-Reuse in Online Evolution
Strategies", arXiv 2304.12180.
"""

from l2o.arguments import Count, Positive, checked
from l2o.estimators.online import Spec, check, evolution
from l2o.inner.mapping import vectorized
from l2o.types import MapFn, OnlineEstimator, Unroll


@checked
def gpes(
  unroll: Unroll,
  period: Count,
  map_fn: MapFn = vectorized,
  pair_map: MapFn = vectorized,
  particles: Count = 16,
  window: Count = 20,
  sigma: Positive = 0.05,
  policy: str = 'cut',
  objective: str = 'mean',
  stagger: bool = True,
) -> OnlineEstimator:
  """Generalized persistent evolution strategies; `l2o.estimators.online` has the formula.

  Args:
    unroll: the inner problem.
    period: K, inner steps from one perturbation to the next, counted from an episode's start; it
      need not divide the horizon or be a multiple of the window.
    map_fn: strategy for mapping over particles.
    pair_map: the same for the two runs of a particle; convolutions on a CPU run best one by one.
    particles: N, antithetic pairs.
    window: W, inner steps of an estimate.
    sigma: standard deviation of the noise.
    policy: 'cut', where an episode's last window ends with it, or 'roll', where the next episode
      begins within the window (on an accelerator every step then computes a start as well).
    objective: 'mean' of the training losses, 'window_end' for the loss on evaluation data at the
      end of each window, or 'final' for that at the end of the episode.
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
    >>> online, tasks = gpes(unroll, period=4, particles=2000, window=2), TaskBatch((), {}, 6)
    >>> theta, key = jnp.float32(0.5), jax.random.key(0)
    >>> state = online.init(theta, key, tasks)
    >>> grad, state, metrics = jax.jit(online.estimate)(theta, state, key, tasks)
    >>> bool(grad > 0), state.clock.step.shape
    (True, (2000,))
  """
  spec = Spec(
    particles, window, policy, objective, stagger, sigma=sigma, period=period, pair_map=pair_map
  )
  return evolution(check(spec), unroll, map_fn)

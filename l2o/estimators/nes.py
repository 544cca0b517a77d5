"""Natural evolution strategies with antithetic noise and centred-rank fitness shaping.

    grad = 1 / (n sigma) * sum_i u_i s_i eps_i,   candidate i at theta + s_i sigma eps_i

over n candidates in antithetic pairs (s_i = +1, -1), all on the same tasks and batches. u_i is the
loss's centred rank, or the loss itself without shaping, which makes the estimate unbiased for the
Gaussian-smoothed meta-loss. A candidate without a finite loss ranks last; without shaping it
counts as the worst finite one.

Source: Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement
Learning", arXiv 1703.03864; as used by arXiv 2408.09310, sec. 4.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from l2o.arguments import Positive, Range, checked
from l2o.errors import InputError
from l2o.registry import choose
from l2o.types import EvolutionStrategy, Metrics, PyTree, Theta

SHAPINGS = ('centred_rank', 'none')


class NESState(NamedTuple):
  """State of the estimator."""

  generation: jax.Array  # [] int32, generations done


def halving(initial: float, every: float) -> Callable[[Any], Any]:
  """Smooth decay: initial * 0.5^(t / every).

  Example:
    >>> halving(0.2, every=500)(1000)
    0.05
  """
  return lambda count: initial * 0.5 ** (count / every)


def centred_rank(losses: jax.Array) -> jax.Array:
  """Ranks of `losses`, scaled to [-0.5, 0.5]; equal losses share the mean of their ranks.

  A non-finite loss counts as the largest. Sharing ranks makes the result independent of the order
  of the candidates.

  Args:
    losses: [population].

  Returns:
    [population], with mean zero.

  Example:
    >>> centred_rank(jnp.array([3.0, 1.0, jnp.nan])).tolist()
    [0.0, -0.5, 0.5]
  """
  losses = jnp.where(jnp.isfinite(losses), losses, jnp.inf)
  below = jnp.sum(losses[None, :] < losses[:, None], axis=1)
  not_above = jnp.sum(losses[None, :] <= losses[:, None], axis=1)
  return (below + not_above - 1) / (2.0 * (losses.size - 1)) - 0.5


def perturbation(key: jax.Array, theta: Theta, pair: jax.Array) -> PyTree:
  """Standard normal noise in the shape of `theta` for antithetic pair number `pair`."""
  flat, unravel = ravel_pytree(theta)  # one draw for all leaves: a tenth of the compile time
  return unravel(jax.random.normal(jax.random.fold_in(key, pair), flat.shape, flat.dtype))


@checked
def nes(
  population: Annotated[int, Range(at_least=2)] = 32,
  sigma: Positive = 0.05,
  sigma_halves_every: Positive = 500,
  shaping: str = 'centred_rank',
) -> EvolutionStrategy:
  """The NES estimator of d(meta-loss) / d(theta); the formula is in the module's docstring.

  Args:
    population: n, even.
    sigma: standard deviation of the noise at the first generation.
    sigma_halves_every: generations over which sigma halves, smoothly.
    shaping: 'centred_rank' or 'none'.

  Returns:
    A strategy. Its metrics: those given to `tell`, averaged over candidates with a finite loss;
    'nonfinite', the number of the others; 'candidates'; 'loss_best'; 'sigma'.

  Raises:
    InputError: population odd or below 2, sigma or its decay not positive, unknown shaping.

  Example:
    >>> strategy, theta, key = nes(population=2000), jnp.array(3.0), jax.random.key(1)
    >>> state = strategy.init(theta, jax.random.key(0))
    >>> thetas = jax.vmap(lambda i: strategy.ask(theta, state, key, i))(jnp.arange(2000))
    >>> grad, state, metrics = strategy.tell(theta, state, key, {'loss': (thetas - 1.0) ** 2})
    >>> bool(grad > 0)
    True
  """
  return antithetic(population, halving(sigma, sigma_halves_every), shaping)


def antithetic(population: int, sigma_at: Callable[[Any], Any], shaping: str) -> EvolutionStrategy:
  """The strategy of the module's docstring with any schedule of sigma.

  Args:
    population: n, even.
    sigma_at: generation [] -> sigma.
    shaping: 'centred_rank' or 'none'.

  Raises:
    InputError: population odd, unknown shaping.
  """
  if population % 2:
    raise InputError(f'estimator.population must be even and at least 2, not {population}')
  choose(shaping, SHAPINGS, 'fitness shaping')
  spec = _Spec(population, sigma_at, shaping == 'centred_rank')
  return EvolutionStrategy(population, _init, partial(_candidate, spec), partial(_tell, spec))


class _Spec(NamedTuple):
  """The arguments of `antithetic`, checked."""

  population: int
  sigma_at: Callable[[Any], Any]
  shaped: bool


def _init(theta: Theta, key: jax.Array) -> NESState:
  del theta, key
  return NESState(jnp.zeros((), jnp.int32))


def _candidate(
  spec: _Spec, theta: Theta, state: NESState, key: jax.Array, number: jax.Array
) -> Theta:
  """theta + s_i sigma eps_i."""
  sigma = jnp.asarray(spec.sigma_at(state.generation), jnp.float32)
  sign = 1.0 - 2.0 * (number % 2)
  noise = perturbation(key, theta, number // 2)
  return jax.tree.map(lambda t, e: t + (sign * sigma).astype(t.dtype) * e, theta, noise)


def _tell(
  spec: _Spec, theta: Theta, state: NESState, key: jax.Array, metrics: Metrics
) -> tuple[Theta, NESState, Metrics]:
  numbers = jnp.arange(spec.population)
  signs = 1.0 - 2.0 * (numbers % 2)
  sigma = jnp.asarray(spec.sigma_at(state.generation), jnp.float32)
  losses = metrics['loss']
  utilities = centred_rank(losses) if spec.shaped else _replace_nonfinite(losses)
  # The noise is redrawn from its keys, so only `population` losses cross devices.
  weights = (utilities * signs).reshape(-1, 2).sum(axis=1) / (spec.population * sigma)
  noise = jax.vmap(lambda pair: perturbation(key, theta, pair))(numbers[::2] // 2)
  grad = jax.tree.map(lambda e: jnp.tensordot(weights.astype(e.dtype), e, axes=1), noise)
  return grad, NESState(state.generation + 1), _summary(metrics) | {'sigma': sigma}


def _replace_nonfinite(losses: jax.Array) -> jax.Array:
  worst = jnp.max(losses, where=jnp.isfinite(losses), initial=-jnp.inf)
  return jnp.where(jnp.isfinite(losses), losses, jnp.where(jnp.isfinite(worst), worst, 0.0))


def _summary(metrics: Metrics) -> Metrics:
  """Means over the candidates with a finite loss (NaN if there is none), and counts."""
  finite = jnp.isfinite(metrics['loss'])
  means = {name: jnp.mean(values, where=finite) for name, values in metrics.items()}
  best = jnp.min(metrics['loss'], where=finite, initial=jnp.inf)
  counts = {'nonfinite': jnp.sum(~finite), 'candidates': jnp.asarray(finite.size)}
  return means | counts | {'loss_best': best}

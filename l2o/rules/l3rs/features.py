"""What a per-layer learned rule sees: norms, their moving averages, and time.

A layer is one leaf of the parameter tree. All functions work on [layers, …] arrays, so that this
part of the program does not grow with the number of layers. Source: arXiv 2408.09310, sec. 4.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from l2o.types import Horizon

LOG_EPSILON = 1e-8  # keeps the log of a zero norm finite: -18.4


def log_norm(norm: jax.Array) -> jax.Array:
  """log(norm + 1e-8), finite at zero.

  Example:
    >>> [round(x, 2) for x in log_norm(jnp.array([1.0, 0.0])).tolist()]
    [0.0, -18.42]
  """
  return jnp.log(norm + LOG_EPSILON)


def ema_update(ema: jax.Array, value: jax.Array, gammas: Sequence[float]) -> jax.Array:
  """One step of several exponential moving averages: a ← gamma a + (1 - gamma) x.

  Args:
    ema: [..., gammas], not bias-corrected.
    value: [...], the new observation x.
    gammas: decay factors; 0 keeps the observation itself.

  Returns:
    [..., gammas].

  Example:
    >>> ema_update(jnp.array([1.0, 1.0]), jnp.array(3.0), (0.0, 0.5))
    Array([3., 2.], dtype=float32)
  """
  decay = jnp.asarray(gammas, jnp.float32).reshape((1,) * value.ndim + (-1,))
  return decay * ema + (1.0 - decay) * value[..., None]


def ema_debias(ema: jax.Array, count: jax.Array, gammas: Sequence[float]) -> jax.Array:
  """Bias-corrected averages a / (1 - gamma^k), k = `count` counted from 1; shape as `ema`."""
  decay = jnp.asarray(gammas, jnp.float32).reshape((1,) * (ema.ndim - 1) + (-1,))
  return ema / (1.0 - decay ** count.astype(jnp.float32))


def relative_time(count: jax.Array, num_steps: Horizon) -> jax.Array:
  """tanh(10 (k/K - alpha_i)), alpha_i = 0, 0.1, …, 1: [11], k counted from 1."""
  alphas = jnp.linspace(0.0, 1.0, 11)
  return jnp.tanh(10.0 * (count.astype(jnp.float32) / num_steps - alphas))


def absolute_time(num_steps: Horizon, betas: Sequence[float]) -> jax.Array:
  """tanh(log(K beta_j)): [betas]. Constant during a run: it tells the rule the horizon."""
  return jnp.tanh(jnp.log(num_steps * jnp.asarray(betas, jnp.float32)))

"""Learning-rate schedules that take a traced horizon, unlike optax's own.

A schedule is a function (k, K) -> factor on the learning rate after k of K steps.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from l2o.arguments import Positive
from l2o.errors import InputError
from l2o.registry import build, check_bounds

Schedule = Callable[[Any, Any], jax.Array]

SCHEDULES = {
  'constant': 'l2o.rules.schedules:constant',
  'cosine': 'l2o.rules.schedules:cosine',
  'halving': 'l2o.rules.schedules:halving',
  'linear': 'l2o.rules.schedules:linear',
  'step': 'l2o.rules.schedules:step',
}


def schedule(spec: str | Mapping[str, Any]) -> Schedule:
  """Builds a schedule from its name or from `{'name': …, **arguments}`.

  Raises:
    InputError: no such schedule, or an argument it does not take.

  Example:
    >>> round(float(schedule('cosine')(2, 4)), 6)
    0.5
  """
  return build(SCHEDULES, {'name': spec} if isinstance(spec, str) else spec, 'schedule')


def constant(warmup: float = 0.0) -> Schedule:
  """1, after a linear warm-up (k + 1) / (w + 1) over the first w = warmup K steps."""
  return _warmed(lambda k, K: jnp.ones((), jnp.float32), warmup)


def cosine(warmup: float = 0.0) -> Schedule:
  """(1 + cos(pi (k - w) / (K - w))) / 2, zero at step K, after a warm-up as in `constant`.

  Example:
    >>> at = cosine(warmup=0.2)
    >>> [round(float(at(k, 20)), 3) for k in (0, 4, 12, 20)]
    [0.2, 1.0, 0.5, 0.0]
  """

  return _warmed(lambda k, K: 0.5 * (1.0 + jnp.cos(jnp.pi * _progress(k, K, warmup))), warmup)


def linear(warmup: float = 0.0) -> Schedule:
  """1 - (k - w) / (K - w), zero at step K, after a warm-up as in `constant`.

  Example:
    >>> at = linear(warmup=0.2)
    >>> [round(float(at(k, 20)), 3) for k in (0, 4, 12, 20)]
    [0.2, 1.0, 0.5, 0.0]
  """
  return _warmed(lambda k, K: 1.0 - _progress(k, K, warmup), warmup)


def step(every: int, factor: float, warmup: float = 0.0) -> Schedule:
  """factor^floor(k / every), after a warm-up as in `constant`.

  Example:
    >>> at = step(every=300, factor=0.3)
    >>> [round(float(at(k, 1000)), 3) for k in (0, 299, 300, 600)]
    [1.0, 1.0, 0.3, 0.09]
  """
  check_bounds({'every': every, 'factor': factor}, 'schedule step', {'every': 1}, {'factor': 0})
  return _warmed(lambda k, K: jnp.asarray(factor, jnp.float32) ** (k // every), warmup)


def halving(every: Positive, warmup: float = 0.0) -> Schedule:
  """0.5^(k / every), smoothly, after a warm-up as in `constant`.

  Example:
    >>> at = halving(every=500)
    >>> [float(at(k, 2000)) for k in (0, 500, 1000)]
    [1.0, 0.5, 0.25]
  """
  return _warmed(lambda k, K: 0.5 ** (k / every), warmup)


def _progress(k: Any, K: Any, warmup: float) -> jax.Array:
  """The fraction of the steps after the warm-up that is done: 0 to 1."""
  w = warmup * K if warmup else 0  # keeps integers exact, so that their ratio has full precision
  return (jnp.minimum(k, K) - w) / (K - w)


def _warmed(factor: Schedule, warmup: float) -> Schedule:
  if not 0 <= warmup < 1:
    raise InputError(
      f'the warm-up of a schedule must be a fraction of K from 0 to below 1, not {warmup}'
    )
  if not warmup:
    return factor

  def warmed(k: Any, K: Any) -> jax.Array:
    w = warmup * K
    return jnp.where(k < w, (k + 1) / (w + 1), factor(k, K))

  return warmed

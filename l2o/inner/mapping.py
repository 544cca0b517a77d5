"""Strategies for mapping over independent inputs on one device; each is a `MapFn`."""

from collections.abc import Callable

import jax

from l2o.platform import platform
from l2o.registry import choose
from l2o.types import MapFn, PyTree


def vectorized(fn: Callable[[PyTree, PyTree], PyTree], xs: PyTree, shared: PyTree) -> PyTree:
  """All at once, by `jax.vmap`: needs memory for all of them, and fills an accelerator.

  Example:
    >>> import jax.numpy as jnp
    >>> vectorized(lambda x, shared: x * shared, jnp.arange(3), 10)
    Array([ 0, 10, 20], dtype=int32)
  """
  return jax.vmap(lambda x: fn(x, shared))(xs)


def sequential(fn: Callable[[PyTree, PyTree], PyTree], xs: PyTree, shared: PyTree) -> PyTree:
  """One after another, by `jax.lax.map`: needs memory for one, and keeps a CPU's caches warm.

  Example:
    >>> import jax.numpy as jnp
    >>> sequential(lambda x, shared: x * shared, jnp.arange(3), 10)
    Array([ 0, 10, 20], dtype=int32)
  """
  return jax.lax.map(lambda x: fn(x, shared), xs)


def on_device(name: str) -> MapFn:
  """'vectorized', 'sequential', or 'auto': sequential on a CPU and vectorized elsewhere.

  Raises:
    InputError: any other name.
  """
  table: dict[str, MapFn] = {'vectorized': vectorized, 'sequential': sequential}
  if choose(name, (*table, 'auto'), 'mapping') == 'auto':
    return sequential if platform() == 'cpu' else vectorized
  return table[name]

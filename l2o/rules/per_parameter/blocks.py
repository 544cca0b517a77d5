"""A loop over parts of large arrays, so that intermediates stay in a CPU's cache."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from l2o.types import PyTree

BLOCK = 2**18  # entries per pass of a loop that takes statistics


def slabs_per_block(shape: tuple[int, ...]) -> int:
  """How many slabs of an array [S, *slab] make up a block: a divisor of S.

  Example:
    >>> slabs_per_block((9, 512, 512)), slabs_per_block((9, 64, 64)), slabs_per_block((100, 64, 64))
    (1, 9, 50)
  """
  S, *slab = shape
  fitting = max(1, BLOCK // math.prod(slab))
  return max(k for k in range(1, S + 1) if S % k == 0 and k <= fitting)


def in_blocks(
  function: Callable[..., PyTree], arguments: tuple[PyTree, ...], size: int
) -> tuple[tuple[PyTree, ...], PyTree]:
  """`function(start, *arguments)` for `size` entries of the leading axis at a time.

  If the size does not divide the axis, the last block begins early and repeats entries.

  Args:
    function: computes each entry of its results, [size, ...], from the same entry of its arguments;
      `start` [] is the position of the first.
    arguments: trees of arrays [S, ...].
    size: entries of a block, at most S.

  Returns:
    The arguments, unchanged, and the results [S, ...]. Use the returned arguments, not the
    originals: XLA copies buffers that are read both inside and after a loop.

  Example:
    >>> x = jnp.arange(5.0)
    >>> in_blocks(lambda start, x: start + 10.0 * x, (x,), size=2)[1]
    Array([ 0., 10., 22., 33., 43.], dtype=float32)
  """
  S = jax.tree.leaves(arguments)[0].shape[0]
  # Reverse mode stores a block's inputs and recomputes the rest: a network's hidden units are many
  # times as large.
  function = jax.checkpoint(function)

  def first(i: Any) -> Any:
    return i * size if S % size == 0 else jnp.minimum(i * size, S - size)

  def block(arguments: tuple[PyTree, ...], i: Any) -> PyTree:
    cut = lambda x: jax.lax.dynamic_slice_in_dim(x, first(i), size)  # noqa: E731
    return function(first(i), *jax.tree.map(cut, arguments))

  def step(i: jax.Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
    arguments, out = carry
    put = lambda all, x: jax.lax.dynamic_update_slice_in_dim(all, x, first(i), 0)  # noqa: E731
    out = jax.tree.map(put, out, block(arguments, i))
    # Without the barrier JAX sees that the arguments are unchanged, and uses the originals.
    return jax.lax.optimization_barrier(arguments), out

  shapes = jax.eval_shape(block, arguments, 0)
  out = jax.tree.map(lambda x: jnp.zeros((S, *x.shape[1:]), x.dtype), shapes)
  return jax.lax.fori_loop(0, -(-S // size), step, (arguments, out))

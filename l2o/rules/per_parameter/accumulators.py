"""Moving averages of a group's gradients: momenta, second moments, factored ones.

Arrays belong to a group of tensors (`tensor_groups`): [S, *slab] for S slabs, whose last two
axes are a tensor's second largest d1 and its largest d0, or [S] for joined vectors.
Factored moments: Shazeer & Stern, "Adafactor", arXiv 1804.04235.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from l2o.rules.per_parameter.tensor_groups import Group


class Decays(NamedTuple):
  """Decays of the moving averages."""

  momenta: tuple[Any, ...]  # numbers or [] float32
  second: Any  # a number or [] float32
  factored: jax.Array  # [3] float32


class Accumulators(NamedTuple):
  """Moving averages of a group's gradients: about four times the size of its parameters."""

  momenta: tuple[jax.Array, ...]  # 3 x [S, *slab] float32
  second: jax.Array  # [S, *slab] float32, averages of the squares
  row: jax.Array  # [S, …, 3, d1] float32, of the squares' means over d0; vectors: [3, S], squares
  col: jax.Array | None  # [S, …, 3, d0] float32, of the squares' means over d1; None for vectors


class Factors(NamedTuple):
  """Derived from the row and column averages of matrices."""

  row_root: jax.Array  # [S, …, 3, d1], rsqrt(row + 1e-8)
  col_root: jax.Array  # [S, …, 3, d0]
  row_factor: jax.Array  # [S, …, 3, d1], Adafactor's
  col_factor: jax.Array  # [S, …, 3, d0]


class Sources(NamedTuple):
  """What the inputs of a group's MLPs are computed from."""

  grads: jax.Array  # [S, *slab]
  params: jax.Array  # [S, *slab]
  acc: Accumulators  # already updated with the gradients
  factors: Factors | None  # None for vectors


def init_accumulators(group: Group) -> Accumulators:
  """Accumulators before the first gradient: zeros."""
  S = group.shape[0]
  *others, d1, d0 = group.slab or (0, 0)
  return Accumulators(
    tuple(jnp.zeros(group.shape) for _ in range(3)),
    jnp.zeros(group.shape),
    jnp.zeros((S, *others, 3, d1) if group.slab else (3, S)),
    jnp.zeros((S, *others, 3, d0)) if group.slab else None,
  )


def factored_means(squares: jax.Array) -> tuple[jax.Array, jax.Array | None]:
  """The means of squared gradients [S, *slab] that the factored moments average.

  Returns:
    Means over d0, [S, …, d1], and over d1, [S, …, d0]; for vectors, the squares and None.

  Example:
    >>> factored_means(jnp.array([[[1.0, 3.0, 2.0], [5.0, 0.0, 4.0]]]))
    (Array([[2., 3.]], dtype=float32), Array([[3. , 1.5, 3. ]], dtype=float32))
  """
  if squares.ndim == 1:
    return squares, None
  return jnp.mean(squares, axis=-1), jnp.mean(squares, axis=-2)


def accumulate(
  acc: Accumulators,
  grads: jax.Array,
  params: jax.Array,
  row: jax.Array,
  col: jax.Array | None,
  decays: Decays,
) -> Sources:
  """Adds a gradient: a ← d a + (1 - d) x for each moving average.

  Args:
    acc: the averages before.
    grads: [S, *slab].
    params: [S, *slab].
    row: from `factored_means`.
    col: likewise.
    decays: the decay of each average.
  """
  new_col = None
  if acc.col is not None and col is not None:
    new_col = _averages(decays.factored, acc.col, col + 1e-30)
  acc = Accumulators(
    tuple(average(d, m, grads) for d, m in zip(decays.momenta, acc.momenta, strict=True)),
    average(decays.second, acc.second, jnp.square(grads)),
    _averages(decays.factored, acc.row, row + 1e-30),
    new_col,
  )
  return Sources(grads, params, acc, None if new_col is None else _factors(acc.row, new_col))


def average(decay: Any, average: jax.Array, x: jax.Array) -> jax.Array:
  """decay average + (1 - decay) x."""
  return decay * average + (1.0 - decay) * x


def safe_rsqrt(x: jax.Array) -> jax.Array:
  """1 / sqrt(max(x, 1e-9))."""
  return jax.lax.rsqrt(jnp.maximum(x, 1e-9))


def _averages(decays: jax.Array, averages: jax.Array, x: jax.Array) -> jax.Array:
  """Updates averages [S, …, 3, d] with x [S, …, d], or [3, S] with x [S]."""
  decays = decays.reshape((1,) * (x.ndim - 1) + (-1, 1))
  return decays * averages + (1.0 - decays) * jnp.expand_dims(x, -2)


def _factors(row: jax.Array, col: jax.Array) -> Factors:
  """Factors for all decays at once: a computation per decay would multiply the compile time."""
  mean = jnp.mean(row, axis=-1, keepdims=True)
  return Factors(
    jax.lax.rsqrt(row + 1e-8),
    jax.lax.rsqrt(col + 1e-8),
    safe_rsqrt(row / (mean + 1e-9)),
    safe_rsqrt(col),
  )

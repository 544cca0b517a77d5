"""What a parameter's network sees: its gradient, its value and what follows from the averages.

Each input is a separate array rather than a channel: matrix products over an axis of 1 to 4
channels are slow.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from l2o.rules.per_parameter.accumulators import Sources, safe_rsqrt
from l2o.rules.per_parameter.blocks import in_blocks, slabs_per_block
from l2o.rules.per_parameter.tensor_groups import Group, spread, tensor_means
from l2o.types import PyTree

# Name -> channels of a block of inputs, in the order of the first layer's weights w0__0 … w0__13.
BLOCKS = {
  'grad': 1,
  'clipped_grad': 1,
  'param': 1,
  'momenta': 3,
  'second': 1,
  'scaled_momenta': 3,
  'inverse_root': 1,
  'factored_grad': 3,
  'scaled_grad': 1,
  'row': 3,
  'col': 3,
  'row_root': 3,
  'col_root': 3,
  'factored_momenta': 3,
}


def input_blocks(
  sources: Sources, epsilon: float = 1e-6, vector_epsilon: float = 0.0
) -> dict[str, list[jax.Array]]:
  """The blocks of inputs, in the order of `BLOCKS`.

  With m the momenta, v the second moment, R and C the factored ones and ρ, κ Adafactor's factors:
  g; g clipped to ±0.1; p; m; v; m w; w = (v + ε)^-½; g ρ κ; g w; R; C; (R + 1e-8)^-½;
  (C + 1e-8)^-½; m ρ κ. Vectors have their unfactored moment D for both R and C, and in place of
  the factors: g (D + 1e-9)^-½ and m (D + ε')^-½.

  Args:
    sources: from `accumulate`.
    epsilon: ε.
    vector_epsilon: ε'.

  Returns:
    Name -> arrays, each [S, *slab] or of length 1 along an axis where it is constant.
  """
  grads, params, acc, factors = sources
  m, v = acc.momenta, acc.second
  inverse = jax.lax.rsqrt(v + epsilon)
  if acc.col is None or factors is None:
    row = col = list(acc.row)
    row_root = col_root = [jax.lax.rsqrt(x + 1e-8) for x in row]
    grad_factor = [safe_rsqrt(x + 1e-9) for x in row]
    momentum_factor = [jax.lax.rsqrt(x + vector_epsilon if vector_epsilon else x) for x in row]
  else:
    row, row_root, row_factor = map(_rows, (acc.row, factors.row_root, factors.row_factor))
    col, col_root, col_factor = map(_cols, (acc.col, factors.col_root, factors.col_factor))
    grad_factor = [r * c for r, c in zip(row_factor, col_factor, strict=True)]
    momentum_factor = grad_factor
  blocks = (
    [grads],
    [jnp.clip(grads, -0.1, 0.1)],
    [params],
    list(m),
    [v],
    [x * inverse for x in m],
    [inverse],
    [grads * factor for factor in grad_factor],
    [grads * inverse],
    row,
    col,
    row_root,
    col_root,
    [x * factor for x, factor in zip(m, momentum_factor, strict=True)],
  )
  return dict(zip(BLOCKS, blocks, strict=True))


def input_scales(
  group: Group,
  inputs: Callable[[PyTree], list[jax.Array]],
  sources: PyTree,
  epsilon: float,
  matrices: bool = False,
) -> tuple[list[jax.Array], PyTree]:
  """(ε + mean x²)^-½ for each input x, which normalises it.

  Args:
    group: the group.
    inputs: sources -> the inputs, each [S, *slab] or of length 1 along an axis.
    sources: a tree of arrays [S, ...].
    epsilon: ε.
    matrices: whether the mean is over each matrix of a tensor's last two axes (then the group must
      come from `group_tensors(…, matrices=True)`) or over the tensor. For vectors these are equal.

  Returns:
    The scales, which broadcast against the inputs, and the sources to use instead of the argument
    (see `in_blocks`).
  """

  def mean_squares(start: jax.Array | int, sources: PyTree) -> PyTree:
    del start
    found = inputs(sources)
    if not (matrices and group.slab):
      return slab_mean_squares(found)
    return [matrix_means(group, jnp.square(x)) for x in found]

  if group.slab:
    (sources,), squares = in_blocks(mean_squares, (sources,), slabs_per_block(group.shape))
  else:
    squares = mean_squares(0, sources)
  if isinstance(squares, list):
    return [jax.lax.rsqrt(epsilon + square) for square in squares], sources
  scales = spread(group, jax.lax.rsqrt(epsilon + tensor_means(group, squares)))
  return [scale.reshape(-1, *(1,) * len(group.slab)) for scale in scales.T], sources


def matrix_means(group: Group, x: jax.Array) -> jax.Array:
  """Means over each matrix of the tensors' last two axes, [S, *slab] with length 1 along these."""
  for axis in sorted(group.matrix):
    x = jnp.mean(x, axis=axis, keepdims=True)
  return x


def slab_means(x: jax.Array) -> jax.Array:
  """[S, *slab] -> [S]."""
  # The last axis is reduced last: adding up rows keeps the vector lanes of a CPU busy.
  return x if x.ndim == 1 else jnp.mean(jnp.mean(x, axis=1), axis=1)


def slab_mean_squares(inputs: list[jax.Array]) -> jax.Array:
  """Mean squares of each slab's n inputs: [S, n]."""
  return jnp.stack([slab_means(jnp.square(x)) for x in inputs], axis=1)


def _rows(x: jax.Array) -> list[jax.Array]:
  """[S, …, 3, d1] -> 3 x [S, …, d1, 1]."""
  return [x[..., k, :, None] for k in range(x.shape[-2])]


def _cols(x: jax.Array) -> list[jax.Array]:
  """[S, …, 3, d0] -> 3 x [S, …, 1, d0]."""
  return [x[..., k, None, :] for k in range(x.shape[-2])]

"""A convolution that stays fast inside loops on a CPU.

XLA's CPU compiler has a fast convolution for one layout of images, kernels and results, and falls
back to a naive loop for any other. Outside loops it picks that layout; the operands carried by a
`scan`, `while` or `map` are assigned other layouts, and the convolution becomes an order of
magnitude slower. Here the forward pass and both gradients are plain convolutions in that one
layout, with explicit transposes, and barriers that keep the compiler from folding them away.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from l2o.models.conv_shapes import LAYOUT, Padding, Pair, Strides, gradient_margins, kernel_margins
from l2o.models.depthwise import depthwise_conv
from l2o.models.mapped_conv import mapped_conv
from l2o.models.native_conv import native_conv
from l2o.platform import platform


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def canonical_conv(x: jax.Array, w: jax.Array, strides: Strides, padding: Padding) -> jax.Array:
  """Two-dimensional convolution of images [B, H, W, C] with kernels [KH, KW, C, O].

  Args:
    x: images.
    w: kernels.
    strides: along rows and columns.
    padding: (before, after) for rows and columns.

  Returns:
    [B, OH, OW, O], equal to `lax.conv_general_dilated`. Reverse mode only: no `jax.jvp`.

  Example:
    >>> x, w = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 1))
    >>> canonical_conv(x, w, (1, 1), ((0, 0), (0, 0)))[0, :, :, 0]
    Array([[18., 18.],
           [18., 18.]], dtype=float32)
  """
  return _conv(x, w, strides, padding)


def _forward(
  x: jax.Array, w: jax.Array, strides: Strides, padding: Padding
) -> tuple[jax.Array, Pair]:
  return _conv(x, w, strides, padding), (x, w)


def _backward(strides: Strides, padding: Padding, saved: Pair, dy: jax.Array) -> Pair:
  x, w = saved
  return _input_gradient(x, w, dy, strides, padding), _kernel_gradient(x, w, dy, strides, padding)


canonical_conv.defvjp(_forward, _backward)


def _input_gradient(
  x: jax.Array, w: jax.Array, dy: jax.Array, strides: Strides, padding: Padding
) -> jax.Array:
  """dy, dilated by the stride, convolved with the flipped kernel."""
  turned = jnp.flip(w, (0, 1)).transpose(0, 1, 3, 2)
  margins = gradient_margins(x.shape[1:3], w.shape[:2], dy.shape[1:3], strides, padding)
  return _conv(dy, turned, (1, 1), margins, lhs_dilation=strides)


def _kernel_gradient(
  x: jax.Array, w: jax.Array, dy: jax.Array, strides: Strides, padding: Padding
) -> jax.Array:
  """Images convolved with dilated dy; batch and channels swap roles."""
  margins = kernel_margins(x.shape[1:3], w.shape[:2], dy.shape[1:3], strides, padding)
  images, kernels = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
  return _conv(images, kernels, (1, 1), margins, rhs_dilation=strides).transpose(1, 2, 0, 3)


def _conv(
  x: jax.Array,
  w: jax.Array,
  strides: Strides,
  padding: Sequence[tuple[int, int]],
  **dilation: Any,
) -> jax.Array:
  x, w = lax.optimization_barrier((x, w))
  y = lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=LAYOUT, **dilation)
  return lax.optimization_barrier(y)


def conv_general_dilated(
  lhs: jax.Array,
  rhs: jax.Array,
  window_strides: Sequence[int],
  padding: Any,
  lhs_dilation: Sequence[int] | None = None,
  rhs_dilation: Sequence[int] | None = None,
  dimension_numbers: Any = None,
  feature_group_count: int = 1,
  **options: Any,
) -> jax.Array:
  """`lax.conv_general_dilated`, rerouted for undilated convolutions of images in flax's layout.

  On a CPU they go through `canonical_conv` or, with a group for each input and output channel,
  `depthwise_conv`; without groups on a GPU, through `mapped_conv`; these are faster. Otherwise they
  go through `native_conv`, which can be mapped twice.
  """
  rank = lhs.ndim - 2
  ones = (1,) * rank
  plain = (
    rank == 2
    and all(option is None for option in options.values())  # precision and the like
    and tuple(lhs_dilation or ones) == tuple(rhs_dilation or ones) == ones
    and dimension_numbers == lax.conv_dimension_numbers(lhs.shape, rhs.shape, LAYOUT)
  )
  if plain:
    strides = tuple(window_strides)
    if isinstance(padding, str):
      padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], strides, padding)
    margins = tuple(map(tuple, padding))
    if platform() == 'cpu' and feature_group_count == 1:
      return canonical_conv(lhs, rhs, strides, margins)
    if platform() == 'cpu' and feature_group_count == lhs.shape[-1] == rhs.shape[-1]:
      return depthwise_conv(lhs, rhs, strides, margins)
    if platform() == 'gpu' and feature_group_count == 1:
      return mapped_conv(lhs, rhs, strides, margins)
    return native_conv(lhs, rhs, strides, margins, feature_group_count)
  return lax.conv_general_dilated(
    lhs,
    rhs,
    window_strides,
    padding,
    lhs_dilation=lhs_dilation,
    rhs_dilation=rhs_dilation,
    dimension_numbers=dimension_numbers,
    feature_group_count=feature_group_count,
    **options,
  )


class Conv(nn.Conv):
  """flax's `Conv` with the `conv_general_dilated` above: the same parameters and results.

  Example:
    >>> layer = Conv(features=4, kernel_size=(3, 3), strides=(2, 2))
    >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    >>> layer.apply(variables, jnp.ones((2, 8, 8, 3))).shape
    (2, 4, 4, 4)
  """

  conv_general_dilated: Any = conv_general_dilated

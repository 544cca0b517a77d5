"""A convolution in the form that accelerators have programs for, which can be mapped twice.

Meta-training maps over candidates and over tasks. JAX's own gradients of a convolution cannot be
mapped over kernels a second time inside a mesh (NotImplementedError in jax 0.10.2): they carry a
sharding that the rule for groups refuses. Here they are written out, as the same operations.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from l2o.models.conv_shapes import (
  LAYOUT,
  Padding,
  Pair,
  Pixels,
  Strides,
  gradient_margins,
  kernel_margins,
)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def native_conv(
  x: jax.Array, w: jax.Array, strides: Strides, padding: Padding, groups: int = 1
) -> jax.Array:
  """Convolution of images [B, H, W, C] with kernels [KH, KW, C / groups, O].

  Args:
    x: images.
    w: kernels.
    strides: along rows and columns.
    padding: (before, after) for rows and columns.
    groups: groups of channels that see one another; their number divides C and O.

  Returns:
    [B, OH, OW, O], equal to `lax.conv_general_dilated`. Reverse mode only: no `jax.jvp`.

  Example:
    >>> x, w = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2))
    >>> native_conv(x, w, (1, 1), ((0, 0), (0, 0)), 2)[0, :, :, 0]
    Array([[9., 9.],
           [9., 9.]], dtype=float32)
  """
  return lax.conv_general_dilated(
    x, w, strides, padding, dimension_numbers=LAYOUT, feature_group_count=groups
  )


def _forward(
  x: jax.Array, w: jax.Array, strides: Strides, padding: Padding, groups: int
) -> tuple[jax.Array, Pair]:
  return native_conv(x, w, strides, padding, groups), (x, w)


def _backward(strides: Strides, padding: Padding, groups: int, saved: Pair, dy: jax.Array) -> Pair:
  x, w = saved
  dx = input_gradient(dy, w, x.shape[1:3], strides, padding, groups)
  return dx, kernel_gradient(x, dy, w.shape[:2], strides, padding, groups)


native_conv.defvjp(_forward, _backward)


def input_gradient(
  dy: jax.Array, w: jax.Array, size: Pixels, strides: Strides, padding: Padding, groups: int = 1
) -> jax.Array:
  """The gradient with respect to the images.

  Args:
    dy: gradient with respect to the result [B, OH, OW, O].
    w: kernels [KH, KW, C / groups, O].
    size: (H, W) of the images.
    strides: along rows and columns.
    padding: (before, after) for rows and columns.
    groups: groups of channels.

  Returns:
    [B, H, W, C].
  """
  height, width, of_group, outputs = w.shape
  # The channels of all groups side by side: [KH, KW, C, O / groups].
  split = w.reshape((height, width, of_group, groups, outputs // groups))
  joined = jnp.moveaxis(split, 3, 2).reshape((height, width, -1, outputs // groups))
  return lax.conv_general_dilated(
    dy,
    lax.rev(joined, (0, 1)),
    (1, 1),
    gradient_margins(size, w.shape[:2], dy.shape[1:3], strides, padding),
    lhs_dilation=strides,
    dimension_numbers=('NHWC', 'HWOI', 'NHWC'),
    feature_group_count=groups,
  )


def kernel_gradient(
  x: jax.Array, dy: jax.Array, size: Pixels, strides: Strides, padding: Padding, groups: int = 1
) -> jax.Array:
  """The gradient with respect to the kernels.

  Args:
    x: images [B, H, W, C].
    dy: gradient with respect to the result [B, OH, OW, O].
    size: (KH, KW) of the kernels.
    strides: along rows and columns.
    padding: (before, after) for rows and columns.
    groups: groups of channels.

  Returns:
    [KH, KW, C / groups, O].
  """
  return lax.conv_general_dilated(
    x,
    dy,
    (1, 1),
    kernel_margins(x.shape[1:3], size, dy.shape[1:3], strides, padding),
    rhs_dilation=strides,
    dimension_numbers=('CHWN', 'IHWO', 'HWNC'),
    batch_group_count=groups,
  )

"""A convolution that stays fast on a GPU when it is mapped over kernels.

Meta-training maps over candidates and tasks, so every image meets the kernels of its own network.
XLA turns this into one convolution with a group for each network, for which cuDNN has only slow
programs. Here such a map becomes a batched matrix product: patches of the images
[B OH OW, KH KW C] times kernels [KH KW C, O]. With kernels that all images share, it remains the
native convolution. `python -m benchmarks.conv --network=resnet20 --mapped=64` compares the two.

The convolution and its two gradients are bilinear, and the gradients of each are the other two, so
that they can be differentiated again and again.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from l2o.models import native_conv as native
from l2o.models.conv_shapes import Padding, Pair, Pixels, Strides

Bilinear = Callable[[jax.Array, jax.Array], jax.Array]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def mapped_conv(x: jax.Array, w: jax.Array, strides: Strides, padding: Padding) -> jax.Array:
  """Convolution of images [B, H, W, C] with kernels [KH, KW, C, O].

  Args:
    x: images.
    w: kernels.
    strides: along rows and columns.
    padding: (before, after) for rows and columns.

  Returns:
    [B, OH, OW, O], equal to `lax.conv_general_dilated`. Reverse mode only: no `jax.jvp`.

  Example:
    >>> x, kernels = jnp.ones((1, 4, 4, 2)), jnp.ones((5, 3, 3, 2, 1))
    >>> valid = ((0, 0), (0, 0))
    >>> jax.vmap(lambda w: mapped_conv(x, w, (1, 1), valid))(kernels).shape
    (5, 1, 2, 2, 1)
  """
  by_patches = partial(_product, strides=strides, padding=padding)
  return _by_kernels(partial(_native, strides=strides, padding=padding), by_patches)(x, w)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _input_gradient(
  dy: jax.Array, w: jax.Array, size: Pixels, strides: Strides, padding: Padding
) -> jax.Array:
  """The gradient [B, H, W, C] with respect to images of `size`."""
  static: dict[str, Any] = {'size': size, 'strides': strides, 'padding': padding}
  return _by_kernels(
    partial(native.input_gradient, **static), partial(_product_to_images, **static)
  )(dy, w)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _kernel_gradient(
  x: jax.Array, dy: jax.Array, size: Pixels, strides: Strides, padding: Padding
) -> jax.Array:
  """The gradient [KH, KW, C, O] with respect to kernels of `size`; a map makes one for each."""
  static: dict[str, Any] = {'size': size, 'strides': strides, 'padding': padding}
  by_patches = partial(_product_to_kernels, **static)
  once = custom_vmap(partial(native.kernel_gradient, **static))
  once.def_vmap(lambda _, batched, x, dy: (_each(by_patches, batched)(x, dy), True))
  return once(x, dy)


def _conv_backward(strides: Strides, padding: Padding, saved: Pair, dy: jax.Array) -> Pair:
  x, w = saved
  dx = _input_gradient(dy, w, x.shape[1:3], strides, padding)
  return dx, _kernel_gradient(x, dy, w.shape[:2], strides, padding)


def _input_backward(
  size: Pixels, strides: Strides, padding: Padding, saved: Pair, dx: jax.Array
) -> Pair:
  dy, w = saved
  dw = _kernel_gradient(dx, dy, w.shape[:2], strides, padding)
  return mapped_conv(dx, w, strides, padding), dw


def _kernel_backward(
  size: Pixels, strides: Strides, padding: Padding, saved: Pair, dw: jax.Array
) -> Pair:
  x, dy = saved
  dx = _input_gradient(dy, dw, x.shape[1:3], strides, padding)
  return dx, mapped_conv(x, dw, strides, padding)


mapped_conv.defvjp(lambda x, w, *static: (mapped_conv(x, w, *static), (x, w)), _conv_backward)
_input_gradient.defvjp(
  lambda dy, w, *static: (_input_gradient(dy, w, *static), (dy, w)), _input_backward
)
_kernel_gradient.defvjp(
  lambda x, dy, *static: (_kernel_gradient(x, dy, *static), (x, dy)), _kernel_backward
)


def _native(x: jax.Array, w: jax.Array, strides: Strides, padding: Padding) -> jax.Array:
  return native.native_conv(x, w, strides, padding)


def _by_kernels(shared: Bilinear, own: Bilinear) -> Bilinear:
  """A function of (images, kernels): `own` where a map gives images their own kernels.

  A map over images alone joins them into one larger batch, so that a further map can still be
  over kernels.
  """
  once = custom_vmap(shared)

  def mapped(
    count: int, batched: Sequence[bool], images: jax.Array, w: jax.Array
  ) -> tuple[jax.Array, bool]:
    if batched[1]:
      return _each(own, batched)(images, w), True
    joined = once(images.reshape((-1, *images.shape[2:])), w)
    return joined.reshape((count, -1, *joined.shape[1:])), True

  once.def_vmap(mapped)
  return once


def _each(own: Bilinear, batched: Sequence[bool]) -> Bilinear:
  return jax.vmap(own, tuple(0 if is_batched else None for is_batched in batched))


def _patches(x: jax.Array, kernel: Pixels, strides: Strides, padding: Padding) -> jax.Array:
  """The pixels [B, OH, OW, KH KW C] that each output sees."""
  padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  batch, height, width, channels = padded.shape
  steps, lengths = (1, *strides, 1), (height, width)
  spans = [(n - k) // step * step + 1 for n, k, step in zip(lengths, kernel, strides, strict=True)]
  seen = [
    lax.slice(padded, (0, i, j, 0), (batch, i + spans[0], j + spans[1], channels), steps)
    for i in range(kernel[0])
    for j in range(kernel[1])
  ]
  return jnp.concatenate(seen, axis=-1)


def _product(x: jax.Array, w: jax.Array, strides: Strides, padding: Padding) -> jax.Array:
  patches = _patches(x, w.shape[:2], strides, padding)
  flat = patches.reshape((-1, patches.shape[-1])) @ w.reshape((-1, w.shape[-1]))
  return flat.reshape((*patches.shape[:-1], w.shape[-1]))


def _product_to_images(
  dy: jax.Array, w: jax.Array, size: Pixels, strides: Strides, padding: Padding
) -> jax.Array:
  images = jax.ShapeDtypeStruct((dy.shape[0], *size, w.shape[2]), w.dtype)
  (dx,) = jax.linear_transpose(lambda x: _product(x, w, strides, padding), images)(dy)
  return dx


def _product_to_kernels(
  x: jax.Array, dy: jax.Array, size: Pixels, strides: Strides, padding: Padding
) -> jax.Array:
  patches = _patches(x, size, strides, padding)
  dw = patches.reshape((-1, patches.shape[-1])).T @ dy.reshape((-1, dy.shape[-1]))
  return dw.reshape((*size, x.shape[-1], dy.shape[-1]))

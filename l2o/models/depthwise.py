"""A depthwise convolution that is fast on a CPU, inside loops and outside.

XLA's CPU compiler has no fast program for grouped convolutions, and its slow one becomes an order
of magnitude slower inside loops, where choosing a layout, as for dense ones, does not help. Here
each tap of the kernel multiplies a shifted copy of the images. The gradients are written out in
the same way, since those that JAX derives take several times as long to compile and to run.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from l2o.models.conv_shapes import Padding, Pair, Strides, gradient_margins


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_conv(x: jax.Array, w: jax.Array, strides: Strides, padding: Padding) -> jax.Array:
  """Convolution of each channel of images [B, H, W, C] with its own kernel from [KH, KW, 1, C].

  Args:
    x: images.
    w: kernels.
    strides: along rows and columns.
    padding: (before, after) for rows and columns.

  Returns:
    [B, OH, OW, C], equal to `lax.conv_general_dilated` with C groups. Reverse mode only: no
    `jax.jvp`.

  Example:
    >>> x, w = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2))
    >>> depthwise_conv(x, w, (1, 1), ((0, 0), (0, 0)))[0, :, :, 0]
    Array([[9., 9.],
           [9., 9.]], dtype=float32)
  """
  padded = _padded(_at_least_float32(x), padding)
  return _sum_of_taps(padded, _at_least_float32(w), strides).astype(x.dtype)


def _forward(
  x: jax.Array, w: jax.Array, strides: Strides, padding: Padding
) -> tuple[jax.Array, Pair]:
  return depthwise_conv(x, w, strides, padding), (x, w)


def _backward(strides: Strides, padding: Padding, saved: Pair, dy: jax.Array) -> Pair:
  x, w, dy = (_at_least_float32(array) for array in (*saved, dy))
  spread = _padded(
    dy, gradient_margins(x.shape[1:3], w.shape[:2], dy.shape[1:3], strides, padding), strides
  )
  dx = _sum_of_taps(spread, jnp.flip(w, (0, 1)), (1, 1))
  shifted = _shifted(_padded(x, padding), w, strides)
  dw = jnp.stack([jnp.sum(part * dy, (0, 1, 2)) for part in shifted]).reshape(w.shape)
  return dx.astype(saved[0].dtype), dw.astype(saved[1].dtype)


depthwise_conv.defvjp(_forward, _backward)


def _at_least_float32(x: jax.Array) -> jax.Array:
  """At least float32: as in dense convolutions, sums must not be rounded to bfloat16 per tap."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _padded(x: jax.Array, padding: Padding, strides: Strides = (1, 1)) -> jax.Array:
  """Pads images, and puts `strides - 1` zeros between their pixels; margins may be negative."""
  rows, columns = ((*margins, s - 1) for margins, s in zip(padding, strides, strict=True))
  return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), rows, columns, (0, 0, 0)))


def _sum_of_taps(x: jax.Array, w: jax.Array, strides: Strides) -> jax.Array:
  taps = w.reshape((-1, 1, 1, 1, w.shape[-1]))
  first, *others = (part * tap for part, tap in zip(_shifted(x, w, strides), taps, strict=True))
  return sum(others, start=first)


def _shifted(x: jax.Array, w: jax.Array, strides: Strides) -> Iterator[jax.Array]:
  """What each tap of the kernel sees of padded images, row by row."""
  last = [(n - k) // s * s for n, k, s in zip(x.shape[1:3], w.shape[:2], strides, strict=True)]
  for row in range(w.shape[0]):
    for column in range(w.shape[1]):
      end = (x.shape[0], row + last[0] + 1, column + last[1] + 1, x.shape[3])
      yield lax.slice(x, (0, row, column, 0), end, (1, *strides, 1))

"""Types and sizes that the convolutions share."""

import jax

LAYOUT = ('NHWC', 'HWIO', 'NHWC')  # of images, kernels and results
Strides = tuple[int, int]
Padding = tuple[tuple[int, int], ...]
Pair = tuple[jax.Array, jax.Array]  # images and kernels, or their gradients


def gradient_margins(
  x: jax.Array, w: jax.Array, dy: jax.Array, strides: Strides, padding: Padding
) -> Padding:
  """(before, after) of rows and columns of the dilated dy, whose convolution is the size of x.

  Example:
    >>> import jax.numpy as jnp
    >>> x, w, dy = jnp.ones((1, 8, 9, 2)), jnp.ones((3, 3, 2, 1)), jnp.ones((1, 4, 5, 1))
    >>> gradient_margins(x, w, dy, (2, 2), ((0, 1), (1, 1)))
    ((2, 1), (1, 1))
  """
  margins = []
  for size, kernel, outputs, stride, (before, _) in zip(
    x.shape[1:3], w.shape[:2], dy.shape[1:3], strides, padding, strict=True
  ):
    low = kernel - 1 - before
    margins.append((low, size + kernel - 1 - ((outputs - 1) * stride + 1) - low))
  return tuple(margins)


def kernel_margins(
  x: jax.Array, w: jax.Array, dy: jax.Array, strides: Strides, padding: Padding
) -> Padding:
  """(before, after) of rows and columns of x, whose convolution with the dilated dy is w's size.

  Example:
    >>> import jax.numpy as jnp
    >>> x, w, dy = jnp.ones((1, 8, 9, 2)), jnp.ones((3, 3, 2, 1)), jnp.ones((1, 4, 5, 1))
    >>> kernel_margins(x, w, dy, (2, 2), ((0, 1), (1, 1)))
    ((0, 1), (1, 1))
  """
  margins = []
  for size, kernel, outputs, stride, (before, _) in zip(
    x.shape[1:3], w.shape[:2], dy.shape[1:3], strides, padding, strict=True
  ):
    length = (outputs - 1) * stride + 1
    margins.append((before, kernel - 1 + length - size - before))
  return tuple(margins)

"""Types and sizes that the convolutions share."""

from collections.abc import Sequence

import jax

LAYOUT = ('NHWC', 'HWIO', 'NHWC')  # of images, kernels and results
Strides = tuple[int, int]
Padding = tuple[tuple[int, int], ...]
Pixels = Sequence[int]  # (rows, columns)
Pair = tuple[jax.Array, jax.Array]  # images and kernels, or their gradients


def gradient_margins(
  image: Pixels, kernel: Pixels, result: Pixels, strides: Strides, padding: Padding
) -> Padding:
  """The padding (before, after) of the dilated dy with which its convolution has the size of x.

  Args:
    image: size of x.
    kernel: size of w.
    result: size of dy.
    strides: along rows and columns.
    padding: (before, after) for rows and columns of x.

  Example:
    >>> gradient_margins((8, 9), (3, 3), (4, 5), (2, 2), ((0, 1), (1, 1)))
    ((2, 1), (1, 1))
  """
  margins = []
  for size, length, outputs, stride, (before, _) in zip(
    image, kernel, result, strides, padding, strict=True
  ):
    low = length - 1 - before
    margins.append((low, size + length - 1 - ((outputs - 1) * stride + 1) - low))
  return tuple(margins)


def kernel_margins(
  image: Pixels, kernel: Pixels, result: Pixels, strides: Strides, padding: Padding
) -> Padding:
  """The padding (before, after) of x with which its convolution with the dilated dy has w's size.

  Args: as for `gradient_margins`.

  Example:
    >>> kernel_margins((8, 9), (3, 3), (4, 5), (2, 2), ((0, 1), (1, 1)))
    ((0, 1), (1, 1))
  """
  margins = []
  for size, length, outputs, stride, (before, _) in zip(
    image, kernel, result, strides, padding, strict=True
  ):
    dilated = (outputs - 1) * stride + 1
    margins.append((before, length - 1 + dilated - size - before))
  return tuple(margins)

"""Types of arguments that several transforms take."""

from collections.abc import Sequence
from typing import Annotated, Literal

from PIL import Image

from datasets.images import Side
from l2o.arguments import Range
from l2o.errors import InputError

Probability = Annotated[float, Range(at_least=0, at_most=1)]
Pixel = Annotated[int, Range(at_least=0, at_most=255)]
Interpolation = Literal['bilinear', 'bicubic']
Sides = Side | Sequence[Side]  # one number, or (height, width)


def resampling(interpolation: str) -> Image.Resampling:
  """Pillow's filter of that name.

  Example:
    >>> resampling('bicubic').name
    'BICUBIC'
  """
  return Image.Resampling[interpolation.upper()]


def height_and_width(size: Sides, key: str) -> tuple[int, int]:
  """(H, W) of a size that may be one number for both.

  Args:
    size: one number, or two.
    key: what it is called, for the error message.

  Raises:
    InputError: neither one number nor two.

  Example:
    >>> height_and_width(224, 'centre_crop.size'), height_and_width((3, 4), 'centre_crop.size')
    ((224, 224), (3, 4))
  """
  if not isinstance(size, Sequence):
    return size, size
  if len(size) != 2:
    raise InputError(f'{key} must be one number or (height, width), not {size!r}')
  height, width = size
  return height, width

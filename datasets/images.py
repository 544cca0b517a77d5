"""Image helpers that several sources share."""

import os
from typing import Annotated

import numpy as np
from PIL import Image

from l2o.arguments import Range
from l2o.errors import InputError

Side = Annotated[int, Range(at_least=1, at_most=4096)]  # pixels
SideOrNone = Annotated[int, Range(at_least=0, at_most=4096)]  # 0: images keep their size


def check_fits(num_bytes: int, where: str, key: str) -> None:
  """Raises InputError if images need more memory than this machine has.

  Args:
    num_bytes: memory they need.
    where: name of the images, for the error message.
    key: the argument that controls their size.
  """
  if num_bytes > os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'):
    raise InputError(
      f'{where} would need {num_bytes / 2**30:.0f} GiB, more than this machine has; choose a '
      f'smaller {key}'
    )


def resized(image: np.ndarray, size: int) -> np.ndarray:
  """An image [H, W, C] uint8, cropped to its central square and resized to size x size.

  Args:
    image: one or three channels.
    size: height and width; 0 leaves the image as it is.

  Example:
    >>> resized(np.zeros((4, 8, 3), np.uint8), 2).shape
    (2, 2, 3)
  """
  if not size or image.shape[:2] == (size, size):
    return image
  height, width = image.shape[:2]
  side = min(height, width)
  top, left = (height - side) // 2, (width - side) // 2
  square = image[top : top + side, left : left + side]
  picture = Image.fromarray(square[..., 0] if image.shape[2] == 1 else square)
  pixels = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0))
  return pixels.reshape(size, size, image.shape[2])

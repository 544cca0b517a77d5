"""`centre_crop`: the middle of an image."""

from functools import partial

import numpy as np
from PIL import Image

from datasets.transforms import Transform
from datasets.transforms.arguments import Sides, height_and_width
from l2o.arguments import checked


@checked
def centre_crop(size: Sides) -> Transform:
  """Cuts out the middle of images; what an image lacks is filled with black.

  Args:
    size: height and width of the middle, or (height, width).

  Raises:
    InputError: an invalid size.

  Example:
    >>> image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    >>> np.asarray(centre_crop((1, 2))(image, np.random.default_rng(0))).tolist()
    [[5, 6]]
  """
  return partial(_centre_crop, size=height_and_width(size, 'centre_crop.size'))


def _centre_crop(
  image: Image.Image, rng: np.random.Generator, size: tuple[int, int]
) -> Image.Image:
  del rng
  height, width = size
  left, top = _margin(image.width, width), _margin(image.height, height)
  return image.crop((left, top, left + width, top + height))


def _margin(side: int, size: int) -> int:
  """Pixels to cut off before the middle, or minus the pixels to add.

  Halves are rounded to even when cutting, and down when adding, as in torchvision.
  """
  return round((side - size) / 2) if side >= size else -((size - side) // 2)

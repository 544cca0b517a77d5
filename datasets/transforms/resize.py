"""`resize`: another size, with antialiasing."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from PIL import Image

from datasets.transforms import Transform
from datasets.transforms.arguments import Interpolation, Sides, height_and_width, resampling
from l2o.arguments import checked


@checked
def resize(size: Sides, interpolation: Interpolation = 'bilinear') -> Transform:
  """Resizes images, with antialiasing.

  Args:
    size: length of the shorter side, keeping the aspect ratio; or (height, width).
    interpolation: interpolation of the pixels.

  Raises:
    InputError: an invalid size or interpolation.

  Example:
    >>> rng, image = np.random.default_rng(0), Image.new('L', (30, 20))
    >>> resize(10)(image, rng).size, resize((7, 9))(image, rng).size
    ((15, 10), (9, 7))
  """
  resample = resampling(interpolation)
  if not isinstance(size, Sequence):
    return partial(_resize_shorter, size=size, resample=resample)
  height, width = height_and_width(size, 'resize.size')
  return partial(_resize, size=(width, height), resample=resample)


def _resize_shorter(
  image: Image.Image, rng: np.random.Generator, size: int, resample: Image.Resampling
) -> Image.Image:
  shorter = min(image.size)
  width, height = (side * size // shorter for side in image.size)
  return _resize(image, rng, (width, height), resample)


def _resize(
  image: Image.Image, rng: np.random.Generator, size: tuple[int, int], resample: Image.Resampling
) -> Image.Image:
  del rng
  return image.resize(size, resample)

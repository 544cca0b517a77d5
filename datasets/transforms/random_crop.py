"""`random_crop`: a part of an image at its own scale, at a random place."""

from functools import partial

import numpy as np
from PIL import Image

from datasets.transforms import Transform
from datasets.transforms.arguments import Sides, height_and_width
from l2o.arguments import Whole, checked


@checked
def random_crop(size: Sides, padding: Whole = 0) -> Transform:
  """Adds a black border to images and cuts out a part at a random place.

  Images too small for it, even with their border, are placed at random on black. For CIFAR, size
  32 and padding 4 are usual (He et al., arXiv 1512.03385, sec. 4.2).

  Args:
    size: height and width of the part, or (height, width).
    padding: width of the border.

  Raises:
    InputError: an invalid size or padding.

  Example:
    >>> random_crop(32, padding=4)(Image.new('RGB', (32, 32)), np.random.default_rng(0)).size
    (32, 32)
  """
  return partial(_random_crop, size=height_and_width(size, 'random_crop.size'), padding=padding)


def _random_crop(
  image: Image.Image, rng: np.random.Generator, size: tuple[int, int], padding: int
) -> Image.Image:
  height, width = size
  top = _place(rng, image.height, height, padding)
  left = _place(rng, image.width, width, padding)
  return image.crop((left, top, left + width, top + height))  # black outside the image


def _place(rng: np.random.Generator, side: int, size: int, padding: int) -> int:
  low, high = sorted((-padding, side + padding - size))
  return int(rng.integers(low, high + 1))

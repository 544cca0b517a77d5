"""`random_resized_crop`: a part of random area and ratio, resized to one size."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from PIL import Image

from datasets.images import Side
from datasets.transforms import Transform
from datasets.transforms.arguments import Interpolation, resampling
from l2o.arguments import Positive, checked
from l2o.errors import InputError

ATTEMPTS = 10  # torchvision's
Interval = tuple[float, float]
Box = tuple[int, int, int, int]  # left, top, right, bottom


@checked
def random_resized_crop(
  size: Side,
  scale: Sequence[Positive] = (0.08, 1.0),
  ratio: Sequence[Positive] = (3 / 4, 4 / 3),
  interpolation: Interpolation = 'bicubic',
) -> Transform:
  """Cuts a part of random area, ratio and place out of images, and resizes it to size x size.

      area = a height width,  a ~ U(scale),     log(width / height of the part) ~ U(log ratio)

  Up to ten such parts are drawn until one fits into the image; if none does, the largest part in
  the middle whose ratio is inside the bounds is taken. With antialiasing.

  Args:
    size: height and width of the result.
    scale: smallest and largest area, as fractions of the image's.
    ratio: smallest and largest width / height.
    interpolation: interpolation of the pixels.

  Raises:
    InputError: bounds that are not two numbers, the smaller first, or a fraction above 1.

  Example:
    >>> crop = random_resized_crop(8, scale=(0.5, 1.0))
    >>> crop(Image.new('RGB', (40, 30)), np.random.default_rng(0)).size
    (8, 8)

  Reference: Szegedy et al., arXiv 1409.4842, sec. 6; the attempts and the middle are torchvision's.
  """
  fractions = _interval(scale, 'scale')
  if fractions[1] > 1:
    raise InputError(f'random_resized_crop.scale must be at most 1, not {fractions[1]:g}')
  return partial(
    _random_resized_crop,
    size=size,
    scale=fractions,
    ratio=_interval(ratio, 'ratio'),
    resample=resampling(interpolation),
  )


def _interval(given: Sequence[float], name: str) -> Interval:
  if len(given) != 2 or given[0] > given[1]:
    raise InputError(
      f'random_resized_crop.{name} must be two numbers, the smaller first, not {given!r}'
    )
  return given[0], given[1]


def _random_resized_crop(
  image: Image.Image,
  rng: np.random.Generator,
  size: int,
  scale: Interval,
  ratio: Interval,
  resample: Image.Resampling,
) -> Image.Image:
  return _resized(image, random_box(rng, image.size, scale, ratio), size, resample)


def _resized(image: Image.Image, box: Box, size: int, resample: Image.Resampling) -> Image.Image:
  # Pillow's resize(box=…) would blend in pixels from outside the part.
  return image.crop(box).resize((size, size), resample)


def random_box(
  rng: np.random.Generator, size: tuple[int, int], scale: Interval, ratio: Interval
) -> Box:
  """The part, in pixels of an image of `size` (width, height)."""
  width, height = size
  low, high = map(math.log, ratio)
  for _ in range(ATTEMPTS):
    area = width * height * rng.uniform(*scale)
    shape = math.exp(rng.uniform(low, high))
    w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
    if 0 < w <= width and 0 < h <= height:
      left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
      return left, top, left + w, top + h
  return middle(size, ratio)


def middle(size: tuple[int, int], ratio: Interval) -> Box:
  """The largest part in the middle whose width / height is inside the bounds.

  Example:
    >>> middle((41, 20), ratio=(3 / 4, 4 / 3))
    (7, 0, 34, 20)
  """
  width, height = size
  w = min(width, max(1, round(height * ratio[1])))
  h = min(height, max(1, round(width / ratio[0])))
  left, top = (width - w) // 2, (height - h) // 2
  return left, top, left + w, top + h

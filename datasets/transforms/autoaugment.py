"""`autoaugment`: one of 25 pairs of operations that were found by reinforcement learning."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image

from datasets.transforms import Transform
from datasets.transforms.arguments import Pixel, resampling
from datasets.transforms.operations import OPERATIONS
from datasets.transforms.policies import POLICIES
from l2o.arguments import checked
from l2o.errors import InputError

Colour = tuple[int, int, int]


@checked
def autoaugment(
  policy: Literal['imagenet', 'cifar10', 'svhn'] = 'imagenet',
  fill: Pixel | Sequence[Pixel] = 0,
  interpolation: Literal['nearest', 'bilinear', 'bicubic'] = 'nearest',
) -> Transform:
  """AutoAugment: a pair of operations, drawn from the policy for each image, applied in order.

  Each operation is applied with a probability and at a level of its own; a shear, a translation, a
  rotation or a change of contrast, colour, brightness or sharpness goes either way with equal
  probability.

  Args:
    policy: the data set that the pairs were found on.
    fill: colour of what a shear, a translation or a rotation leaves empty, one number for all
      channels or three for red, green and blue; a grey image gets their luma.
    interpolation: interpolation of the pixels that these three move.

  Raises:
    InputError: no such policy or interpolation, or an invalid colour.

  Example:
    >>> augment = autoaugment('cifar10', fill=(125, 123, 114))
    >>> augment(Image.new('RGB', (32, 32)), np.random.default_rng(0)).size
    (32, 32)

  Reference: Cubuk et al., arXiv 1805.09501.
  """
  colour = tuple(fill) if isinstance(fill, Sequence) else (fill,) * 3
  if len(colour) != 3:
    raise InputError(f'autoaugment.fill must be one number or (red, green, blue), not {fill!r}')
  return partial(_autoaugment, policy=policy, fill=colour, resample=resampling(interpolation))


def _autoaugment(
  image: Image.Image,
  rng: np.random.Generator,
  policy: str,
  fill: Colour,
  resample: Image.Resampling,
) -> Image.Image:
  pairs = POLICIES[policy]
  pair = pairs[rng.integers(len(pairs))]
  how = {'resample': resample, 'fillcolor': _colour(fill, image.mode)}
  # Every image draws equally often, so later transforms do not depend on what is applied here.
  chances, negated = rng.random(2), rng.random(2) < 0.5
  for (name, probability, level), chance, minus in zip(pair, chances, negated, strict=True):
    if chance < probability:
      operation = OPERATIONS[name]
      magnitude = operation.magnitude(level, image.size)
      image = operation.apply(image, -magnitude if operation.signed and minus else magnitude, how)
  return image


def _colour(fill: Colour, mode: str) -> Colour | int:
  return fill if mode == 'RGB' else Image.new('RGB', (1, 1), fill).convert('L').getpixel((0, 0))

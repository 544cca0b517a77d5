"""`flip`: mirrors images left to right, at random."""

from functools import partial

import numpy as np
from PIL import Image

from datasets.transforms import Transform
from datasets.transforms.arguments import Probability
from l2o.arguments import checked


@checked
def flip(probability: Probability = 0.5) -> Transform:
  """Flips images left to right.

  Args:
    probability: probability that an image is flipped.

  Raises:
    InputError: an invalid probability.

  Example:
    >>> image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    >>> np.asarray(flip(1.0)(image, np.random.default_rng(0))).tolist()
    [[2, 1, 0], [5, 4, 3]]
  """
  return partial(_flip, probability=probability)


def _flip(image: Image.Image, rng: np.random.Generator, probability: float) -> Image.Image:
  if rng.random() >= probability:
    return image
  return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

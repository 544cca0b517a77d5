"""`digits`: scikit-learn's 1,797 handwritten digits, enlarged from 8x8.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998); uses
the copy inside scikit-learn's wheel, so nothing is downloaded.
"""

import numpy as np
from PIL import Image

from datasets.images import Side, check_fits
from datasets.source import ArraySource
from l2o.arguments import Share, Whole, checked
from l2o.errors import InputError
from l2o.registry import choose


@checked
def digits(split: str, size: Side = 28, seed: Whole = 0, validation: Share = 0.4) -> ArraySource:
  """Loads one split of the data set.

  Args:
    split: 'train' or 'validation'.
    size: height and width in pixels after enlarging.
    seed: seed of the split.
    validation: fraction of the images that are held out.

  Raises:
    InputError: there is no such split, or the fraction leaves one of them without images.

  Example:
    >>> len(digits('train')), len(digits('validation')), digits('train').image_shape
    (1078, 719, (28, 28, 1))
  """
  from sklearn.datasets import load_digits  # takes half a second, so imported only when needed

  choose(split, ('train', 'validation'), 'split')
  bunch = load_digits()
  check_fits(len(bunch.target) * size**2, 'data set digits', 'size')
  order = np.random.default_rng(seed).permutation(len(bunch.target))
  held_out = round(validation * len(order))
  if not 0 < held_out < len(order):
    raise InputError(
      f'digits.validation = {validation} leaves one split without images; choose a share nearer 0.5'
    )
  chosen = np.sort(order[:held_out] if split == 'validation' else order[held_out:])
  images = [_enlarged(bunch.images[i], size) for i in chosen]
  names = [str(d) for d in bunch.target_names]
  return ArraySource(np.stack(images)[..., None], bunch.target[chosen], names)


def _enlarged(image: np.ndarray, size: int) -> np.ndarray:
  """Enlarges an 8x8 image with values 0..16 to size x size with values 0..255."""
  levels = np.rint(image * (255 / 16)).astype(np.uint8)
  return np.asarray(Image.fromarray(levels).resize((size, size), Image.BICUBIC))

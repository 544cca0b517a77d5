"""`digits`: scikit-learn's 1,797 handwritten digits, enlarged from 8x8.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998); the
copy inside scikit-learn's wheel, so nothing is downloaded.
"""

import numpy as np
from PIL import Image

from datasets.source import ArraySource
from l2o.build import check_bounds, choose
from l2o.errors import InputError


def digits(split: str, size: int = 28, seed: int = 0, validation: float = 0.4) -> ArraySource:
  """Loads one split of the data set.

  Args:
    split: 'train' or 'validation'.
    size: height and width in pixels after enlarging.
    seed: of the split.
    validation: fraction of the images that are held out.

  Example:
    >>> len(digits('train')), len(digits('validation')), digits('train').image_shape
    (1078, 719, (28, 28, 1))
  """
  from sklearn.datasets import load_digits  # half a second, only for who asks

  choose(split, ('train', 'validation'), 'split')
  check_bounds({'seed': seed, 'size': size}, 'digits', {'seed': 0, 'size': 1})
  if not 0.0 < validation < 1.0:
    raise InputError(f'digits.validation must be between 0 and 1, not {validation}')
  bunch = load_digits()
  order = np.random.default_rng(seed).permutation(len(bunch.target))
  held_out = round(validation * len(order))
  chosen = np.sort(order[:held_out] if split == 'validation' else order[held_out:])
  images = [_enlarged(bunch.images[i], size) for i in chosen]
  names = [str(d) for d in bunch.target_names]
  return ArraySource(np.stack(images)[..., None], bunch.target[chosen], names)


def _enlarged(image: np.ndarray, size: int) -> np.ndarray:
  """An 8x8 image of values 0..16 as size x size of 0..255."""
  levels = np.rint(image * (255 / 16)).astype(np.uint8)
  return np.asarray(Image.fromarray(levels).resize((size, size), Image.BICUBIC))

"""The interface of a data set: random access, a length, an index of its classes."""

import functools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from l2o.errors import InputError


class Example(NamedTuple):
  """One labelled image."""

  image: np.ndarray  # [H, W, C] uint8
  label: int


class Source(Protocol):
  """One split of a labelled image data set."""

  image_shape: tuple[int, int, int] | None  # None: their shapes differ, and the host feeds them
  class_names: Sequence[str]
  skipped: int  # bad records that were left out

  def __len__(self) -> int:
    """The number of examples."""

  def __getitem__(self, index: int) -> Example:
    """One example."""

  @property
  def class_index(self) -> Sequence[np.ndarray]:
    """Positions of each class's examples, in ascending order: [num_classes] of [n_c] int."""

  def arrays(self) -> dict[str, np.ndarray]:
    """All images at once, for data sets that fit on the device: {'image': [N, H, W, C] uint8}."""


def check_classes(source: Source, classes: Sequence[int], where: str) -> None:
  """Raises InputError if one of these classes has no examples.

  Args:
    source: one split of a data set.
    classes: the classes that will be used.
    where: name of the split, for the error message.

  Example:
    >>> source = ArraySource(np.zeros((1, 8, 8, 1), np.uint8), np.array([1]), ['cat', 'dog'])
    >>> check_classes(source, [1], 'pets')
    >>> check_classes(source, [0, 1], 'pets')
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: pets: the class 'cat' has no examples; add some or use other classes
  """
  index = source.class_index
  for c in classes:
    if not len(index[c]):
      raise InputError(
        f'{where}: the class {source.class_names[c]!r} has no examples; add some or use other '
        f'classes'
      )


class ArraySource:
  """A data set held in memory.

  Args:
    images: [N, H, W, C] uint8.
    labels: [N] int in [0, number of class names).
    class_names: one for each class, whether it has examples or not.
    skipped: records that were left out because they were bad.

  Raises:
    ValueError: images and labels do not match.

  Example:
    >>> source = ArraySource(np.zeros((3, 8, 8, 1), np.uint8), np.array([1, 0, 1]), ['cat', 'dog'])
    >>> len(source), source[0].label, source.class_index[1]
    (3, 1, array([0, 2]))
  """

  def __init__(
    self, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], skipped: int = 0
  ):
    if images.dtype != np.uint8 or images.ndim != 4 or labels.shape != images.shape[:1]:
      raise ValueError(
        f'images must be [N, H, W, C] uint8 and labels [N], '
        f'not {images.dtype} {images.shape} and {labels.shape}'
      )
    if labels.size and not (labels.min() >= 0 and labels.max() < len(class_names)):
      raise ValueError(f'labels must lie in 0..{len(class_names) - 1}')
    self._images = images
    self._labels = labels.astype(np.int32)
    self.image_shape = images.shape[1:]
    self.class_names = tuple(class_names)
    self.skipped = skipped

  def __len__(self) -> int:
    return len(self._images)

  def __getitem__(self, index: int) -> Example:
    return Example(self._images[index], int(self._labels[index]))

  @functools.cached_property
  def class_index(self) -> list[np.ndarray]:
    return [np.flatnonzero(self._labels == c) for c in range(len(self.class_names))]

  def arrays(self) -> dict[str, np.ndarray]:
    return {'image': self._images}

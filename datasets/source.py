"""The interface of a data set: random access, a length, an index of its classes."""

import functools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np


class Example(NamedTuple):
  """One labelled image."""

  image: np.ndarray  # [H, W, C] uint8
  label: int


class Source(Protocol):
  """One split of a labelled image data set."""

  image_shape: tuple[int, int, int] | None  # None: they differ, and are fed by the host
  class_names: Sequence[str]

  def __len__(self) -> int:
    """The number of examples."""

  def __getitem__(self, index: int) -> Example:
    """One example."""

  @property
  def class_index(self) -> Sequence[np.ndarray]:
    """Positions of each class's examples, in ascending order: [num_classes] of [n_c] int."""

  def arrays(self) -> dict[str, np.ndarray]:
    """All images at once, for data sets that fit on the device: {'image': [N, H, W, C] uint8}."""


class ArraySource:
  """A data set held in memory.

  Args:
    images: [N, H, W, C] uint8.
    labels: [N] int in [0, number of class names).
    class_names: one for each class, whether it has examples or not.

  Raises:
    ValueError: images and labels do not match.

  Example:
    >>> source = ArraySource(np.zeros((3, 8, 8, 1), np.uint8), np.array([1, 0, 1]), ['cat', 'dog'])
    >>> len(source), source[0].label, source.class_index[1]
    (3, 1, array([0, 2]))
  """

  def __init__(self, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]):
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

  def __len__(self) -> int:
    return len(self._images)

  def __getitem__(self, index: int) -> Example:
    return Example(self._images[index], int(self._labels[index]))

  @functools.cached_property
  def class_index(self) -> list[np.ndarray]:
    return [np.flatnonzero(self._labels == c) for c in range(len(self.class_names))]

  def arrays(self) -> dict[str, np.ndarray]:
    return {'image': self._images}

"""`blank`: black images, as many as a data set that is not available has, to plan a run on it."""

import functools
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from datasets.images import Side
from datasets.source import Example
from l2o.arguments import Count, Range, checked
from l2o.registry import choose


@checked
def blank(
  split: str,
  num_classes: Annotated[int, Range(at_least=2)],
  train: Count,
  validation: Count,
  size: Side,
  channels: Literal[1, 3] = 3,
  prefix: str = 'class ',
) -> 'Blank':
  """One split of black images, which take no memory on the host.

  Args:
    split: 'train' or 'validation'.
    num_classes: classes, which have the same number of images, give or take one.
    train: images of the train split.
    validation: images of the validation split.
    size: height and width.
    channels: 1 or 3.
    prefix: prefix of the numbers in class names; two data sets should have different ones.

  Example:
    >>> source = blank('validation', num_classes=3, train=60, validation=7, size=8)
    >>> len(source), source.image_shape, source.class_index[0].tolist()
    (7, (8, 8, 3), [0, 3, 6])
  """
  counts = {'train': train, 'validation': validation}
  names = [f'{prefix}{number}' for number in range(num_classes)]
  return Blank(counts[choose(split, counts, 'split')], names, (size, size, channels))


class Blank:
  """Black images.

  Args:
    count: how many.
    class_names: names of the classes, which the images take in turn.
    shape: (H, W, C).
  """

  def __init__(self, count: int, class_names: Sequence[str], shape: tuple[int, int, int]):
    self._count = count
    self.image_shape = shape
    self.class_names = tuple(class_names)
    self.skipped = 0

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> Example:
    return Example(self.arrays()['image'][index], index % len(self.class_names))

  @functools.cached_property
  def class_index(self) -> Sequence[np.ndarray]:
    """Positions of each class's images."""
    return [np.arange(c, self._count, len(self.class_names)) for c in range(len(self.class_names))]

  def arrays(self) -> dict[str, np.ndarray]:
    """All images, as views of one pixel."""
    return {'image': np.broadcast_to(np.uint8(0), (self._count, *self.image_shape))}

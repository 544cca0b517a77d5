"""Disjoint, seeded splits of a data set's classes."""

from collections.abc import Mapping

import numpy as np

from l2o.errors import InputError


def split_classes(num_classes: int, sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
  """Deals the classes 0..num_classes-1 out at random into named parts.

  Args:
    num_classes: classes of the data set.
    sizes: part -> how many classes it gets; what is left over is in no part.
    seed: of the shuffle.

  Returns:
    part -> its classes, ascending; no class is in two parts.

  Raises:
    InputError: a part without classes, or more classes asked for than there are.

  Example:
    >>> parts = split_classes(10, {'pretrain': 5, 'meta_train': 3, 'meta_test': 2}, seed=0)
    >>> sorted(np.concatenate(list(parts.values())).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
  """
  if empty := [name for name, size in sizes.items() if size < 1]:
    raise InputError(f'class_split.{empty[0]} must be at least 1, not {sizes[empty[0]]}')
  if (total := sum(sizes.values())) > num_classes:
    parts = ' + '.join(f'{name} {size}' for name, size in sizes.items())
    raise InputError(f'class_split asks for {total} classes ({parts}) of {num_classes}')
  order = np.random.default_rng(seed).permutation(num_classes)
  ends = np.cumsum(list(sizes.values()))
  return {
    name: np.sort(order[end - size : end])
    for (name, size), end in zip(sizes.items(), ends, strict=True)
  }

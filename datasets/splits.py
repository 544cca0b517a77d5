"""Disjoint, seeded splits of a data set's classes."""

import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from l2o.arguments import Count
from l2o.errors import InputError
from l2o.registry import call


class _First(NamedTuple):
  """A part that takes the first classes."""

  first: Count


def split_classes(
  num_classes: int, sizes: Mapping[str, Any], seed: int, key: str = 'class_split'
) -> dict[str, np.ndarray]:
  """Splits the classes 0..num_classes-1 into named parts.

  Args:
    num_classes: classes of the data set.
    sizes: part -> number of classes, drawn at random, or `{'first': n}` for the first n in the
      order of the data set, in one part at most; classes left over are in no part.
    seed: seed of the shuffle.
    key: the key of `sizes` in the config, for the error message.

  Returns:
    part -> its classes, ascending; no class is in two parts.

  Raises:
    InputError: a part does not give its number of classes, or more are requested than exist.

  Example:
    >>> parts = split_classes(10, {'pretrain': 5, 'meta_train': 3, 'meta_test': 2}, seed=0)
    >>> sorted(np.concatenate(list(parts.values())).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
  """
  if not isinstance(sizes, Mapping):
    raise InputError(f'{key} must say how many classes each part has, not {sizes!r}')
  first = {
    name: call(_First, size, f'{key}.{name}').first
    for name, size in sizes.items()
    if isinstance(size, Mapping)
  }
  if not sizes:
    raise InputError(f'{key} must name at least one part')
  if len(first) > 1:
    raise InputError(f'{key}: {" and ".join(first)} cannot both have the first classes')
  # The first classes are assigned first; the rest are shuffled.
  counts = {**first, **{name: size for name, size in sizes.items() if name not in first}}
  for name, count in counts.items():
    if not isinstance(count, numbers.Integral) or isinstance(count, bool) or count < 1:
      raise InputError(f'{key}.{name} must be a whole number of at least 1, not {count!r}')
  if (total := sum(counts.values())) > num_classes:
    parts = ' + '.join(f'{name} {count}' for name, count in counts.items())
    raise InputError(
      f'{key} asks for {total} classes ({parts}), but there are only {num_classes}; lower a number'
    )
  head = sum(first.values())
  rest = head + np.random.default_rng(seed).permutation(num_classes - head)
  order = np.concatenate([np.arange(head), rest])
  ends = np.cumsum(list(counts.values()))
  return {
    name: np.sort(order[end - count : end])
    for (name, count), end in zip(counts.items(), ends, strict=True)
  }

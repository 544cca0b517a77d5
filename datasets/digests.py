"""Digests of data, by which the processes of a run notice that their data differ."""

import hashlib
from collections.abc import Mapping

import numpy as np

from datasets.source import Source

SAMPLED = 64  # images of a source that are part of its digest


def of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
  """A SHA-256 of names, dtypes, shapes and content.

  Example:
    >>> of_arrays({'x': np.zeros(2)}) == of_arrays({'x': np.zeros(3)})
    False
  """
  found = hashlib.sha256()
  for name, array in sorted(arrays.items()):
    found.update(f'{name} {array.dtype} {array.shape}'.encode())
    found.update(np.ascontiguousarray(array).tobytes())
  return found.hexdigest()


def of_source(source: Source) -> str:
  """A SHA-256 of the classes, each example's class, and some images spread over the source.

  Example:
    >>> from datasets.source import ArraySource
    >>> images, labels = np.zeros((3, 8, 8, 1), np.uint8), np.array([1, 0, 1])
    >>> one, other = (ArraySource(images + i, labels, ['cat', 'dog']) for i in (0, 1))
    >>> of_source(one) == of_source(other)
    False
  """
  chosen = np.unique(np.linspace(0, len(source) - 1, SAMPLED).astype(int)) if len(source) else []
  examples = {f'image {i}': source[int(i)].image for i in chosen}
  classes = {f'class {i}': index for i, index in enumerate(source.class_index)}
  names = {'names': np.frombuffer('\0'.join(map(str, source.class_names)).encode(), np.uint8)}
  return of_arrays({**examples, **classes, **names})

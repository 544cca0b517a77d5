"""Batches fed by the host, for data sets that do not fit on the device.

A sampler draws positions; threads read them from the source here, a chunk of steps at a time, ahead
of the device. What is read depends only on the draw.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import grain
import numpy as np

from datasets.source import Source, on_demand
from l2o.inner.step import fetch

AHEAD = 2  # chunks to read while the device computes


def chunks(
  source: Source, drawn: Mapping[str, np.ndarray], num_steps: int, chunk_steps: int, threads: int
) -> Iterator[tuple[int, dict[str, Any]]]:
  """The training batches of some episodes, `chunk_steps` steps at a time.

  Args:
    source: where the images are.
    drawn: 'index' and 'label' [b, K, B], K >= num_steps.
    num_steps: how many steps are taken.
    chunk_steps: C; the last chunk is padded with its last batch, so that all have one shape.
    threads: number of reading threads.

  Yields:
    (number of the chunk's first step, {'image' [C, b, B, H, W, C'], 'label' [C, b, B]}).

  Example:
    >>> from datasets.source import ArraySource
    >>> source = ArraySource(np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, int), ['a'])
    >>> drawn = {'index': np.zeros((1, 5, 3), int), 'label': np.zeros((1, 5, 3), int)}
    >>> [(first, chunk['image'].shape) for first, chunk in chunks(source, drawn, 3, 2, threads=1)]
    [(0, (2, 1, 3, 2, 2, 1)), (2, (2, 1, 3, 2, 2, 1))]
  """

  images = on_demand(source)

  def batch(step: int) -> dict[str, Any]:
    step = min(step, num_steps - 1)
    return fetch(images, {name: array[:, step] for name, array in drawn.items()})

  steps = -(-num_steps // chunk_steps) * chunk_steps
  options = grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=max(AHEAD * chunk_steps, threads)
  )
  batches = grain.MapDataset.range(steps).map(batch).to_iter_dataset(options)
  for number, chunk in enumerate(batches.batch(chunk_steps)):
    yield number * chunk_steps, chunk

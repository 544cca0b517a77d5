"""Images that the host reads for the devices: by which process, in which order, and where to."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import NamedSharding

from datasets.input_pipeline import Batches, Fed, InOrder, Step, Steps
from l2o.types import Batch
from trainers.processes import arrays


class Drawn(NamedTuple):
  """What each step of a job reads, drawn by its sampler."""

  sample: Callable[[int], Batch]
  seed: int

  def __call__(self, number: int) -> Step:
    """The batch of a step."""
    drawn = self.sample(number)
    return Step(drawn['index'], drawn['label'], (self.seed, number))


class OnMesh:
  """Batches on a mesh, read ahead, by step number.

  Each process reads only what its own devices need.

  Args:
    fed: how images are read.
    steps: what each step reads.
    stop: how many steps there are.
    place: the sharding of a batch.
    axis: the axis of its examples, which `place` may split.
  """

  def __init__(self, fed: Fed, steps: Steps, stop: int, place: NamedSharding, axis: int):
    self._place, self._axis = place, axis
    self._size = steps(0).label.shape[-1]
    self._part = arrays.own_part(place, axis, self._size)
    self._read = InOrder(
      lambda first: Batches(fed.read, steps, first, stop, fed.reading, self._part)
    )
    self.close = self._read.close

  def __call__(self, number: int) -> Batch:
    """The batch of a step."""
    return self.put(self._read(number))

  def put(self, batch: Mapping[str, Any]) -> Batch:
    """Places this process's rows on the mesh."""
    return arrays.put_part(batch, self._place, self._axis, self._part, self._size)

  def read(self, first: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
    """This process's rows of the steps from `first` to `stop`, on the host."""
    return map(self._read, range(first, stop))

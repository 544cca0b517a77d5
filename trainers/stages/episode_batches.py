"""The training batches of all episodes of a stage, read by the host in order."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from datasets.input_pipeline import Schedule, Step, chunks
from datasets.sampler import TaskSampler
from l2o.types import Batch
from trainers.resources import meshes
from trainers.resources.host_reading import OnMesh
from trainers.stages.host_rollout import Host


class Read(NamedTuple):
  """Episodes that run together; their number is the same throughout a stage."""

  draw: int  # number of the draw that they belong to
  first: int  # number of the first episode within the draw
  count: int  # past the draw's last episode, it wraps around
  num_steps: int


class Draws:
  """The training batches of a sampler's draws, by number; the last one is kept.

  Args:
    tasks: the sampler.
    count: tasks per draw; a mapping by draw if they differ.
    num_steps: K of each task.
  """

  def __init__(self, tasks: TaskSampler, count: Any, num_steps: int):
    self._tasks, self._count, self._num_steps = tasks, count, num_steps
    self._held: tuple[int, Any] = (-1, None)

  def __call__(self, number: int) -> dict[str, np.ndarray]:
    """'index' and 'label' [b, K, B]."""
    held = self._held
    if held[0] != number:
      count = self._count if isinstance(self._count, int) else self._count[number]
      held = self._held = number, self._tasks.sample(number, count, self._num_steps)['train']
    return held[1]


class EpisodeBatches:
  """Chunks of training batches [C, b, B, ...] on a mesh, by the number of the episodes.

  Args:
    host: reads the images.
    episodes: the episodes of the whole stage, in order.
    draws: where their batches come from.
    seed: seed of the random transforms.
    mesh: inner batches are split over its 'data' axis.
  """

  def __init__(self, host: Host, episodes: Sequence[Read], draws: Draws, seed: int, mesh: Mesh):
    self._episodes, self._chunk_steps = episodes, host.chunk_steps
    self._schedule = Schedule([some.num_steps for some in episodes])
    steps = _Steps(self._schedule, episodes, draws, seed)
    place = meshes.batch_sharding(mesh, axis=2)
    self._batches = OnMesh(host.train, steps, len(self._schedule), place, axis=2)
    self.close = self._batches.close

  def chunks(self, of: int) -> Iterator[tuple[int, Batch]]:
    """(number of the chunk's first step, chunk) of the episodes with this number."""
    first, num_steps = self._schedule.start(of), self._episodes[of].num_steps
    batches = self._batches.read(first, first + num_steps)
    for number, chunk in chunks(batches, num_steps, self._chunk_steps):
      yield number, self._batches.put(chunk)


class _Steps(NamedTuple):
  """What each step of all episodes reads."""

  schedule: Schedule
  episodes: Sequence[Read]
  draws: Draws
  seed: int

  def __call__(self, number: int) -> Step:
    of, k = self.schedule(number)
    draw, first, count, _ = self.episodes[of]
    drawn = self.draws(draw)
    some = np.arange(first, first + count) % len(drawn['label'])
    index, label = (drawn[name][some, k] for name in ('index', 'label'))
    return Step(index, label, (self.seed, draw, k), first)

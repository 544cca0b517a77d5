"""Images fed by the host: decoded and transformed by threads or processes, ahead of the device.

What a step reads is a function of its number, and the random transforms of an image are a function
of its place: (seed, draw, step, episode, row). So no reading state is saved, a run resumes at any
step, and any number of hosts and workers gives the same images; each host reads its own rows.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import grain
import numpy as np
from PIL import Image

from datasets import transforms
from datasets.blank import Blank
from datasets.source import Source
from datasets.transforms import Transform
from l2o.errors import InputError

GROUP = 64  # most images that a thread reads at a time


class Step(NamedTuple):
  """What one step reads: a batch, or one batch for each of several episodes."""

  index: np.ndarray  # [..., B] positions in the source
  label: np.ndarray  # likewise
  key: tuple[int, ...]  # key of its random transforms
  first: int = 0  # number of the first episode, among those with this key


class Steps(Protocol):
  """What the steps read; can be pickled, since it is sent to the processes that read."""

  def __call__(self, number: int, /) -> Step:
    """What step `number` reads, counted from 0; all steps have the same shape."""


class Reading(NamedTuple):
  """How much is read at once.

  Attributes:
    ahead: steps to read while the device computes.
    threads: threads that read, in this process or in each worker.
    workers: processes that read; 0 for this one alone.
  """

  ahead: int = 1
  threads: int = 1
  workers: int = 0


class Reader(NamedTuple):
  """Reads images from a source and transforms them.

  Attributes:
    source: where the images are.
    transform: what happens to each, if anything.
    where: the transform's name in the config, for error messages.

  Example:
    >>> from datasets.source import ArraySource
    >>> images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    >>> source = ArraySource(images, np.zeros(2, int), ['a'])
    >>> Reader(source, lambda image, rng: image.transpose(Image.Transpose.ROTATE_90))(1)[..., 0]
    array([[5, 7],
           [4, 6]], dtype=uint8)
  """

  source: Source
  transform: Transform | None = None
  where: str = 'the transform'

  def __call__(self, index: int, key: tuple[int, ...] = ()) -> np.ndarray:
    """The image [H, W, C] uint8 at a position, its random transforms drawn from `key`."""
    image = self.source[index].image
    if self.transform is None:
      return image
    if image.shape[2] not in (1, 3):
      raise InputError(f'{self.where} is for images of 1 or 3 channels, not {image.shape[2]}')
    grey = image.shape[2] == 1
    given = Image.fromarray(image[..., 0] if grey else image)
    seen = np.asarray(self.transform(given, np.random.default_rng(key)))
    return seen[..., None] if grey else seen

  def images(self, index: np.ndarray) -> np.ndarray:
    """The images [*shape, H, W, C] at positions of any shape, for deterministic transforms."""
    if isinstance(self.source, Blank):  # all its images are alike: views of one
      one = self(0)
      return np.broadcast_to(one, (*index.shape, *one.shape))
    found = self.stacked([self(int(i)) for i in index.ravel()])
    return found.reshape(*index.shape, *found.shape[1:])

  def stacked(self, images: Sequence[np.ndarray]) -> np.ndarray:
    """Images as one array [N, H, W, C]. Raises InputError if their sizes differ."""
    if len(shapes := {image.shape for image in images}) > 1:
      one, other, *_ = sorted(shapes)
      raise InputError(
        f'{self.where} leaves images of {one} and of {other}; end it with a crop to one size'
      )
    return np.stack(images)


class Feed(Protocol):
  """The config's block `feed`."""

  chunk_steps: int
  threads: int
  workers: int
  train: Sequence[Mapping[str, Any]]
  evaluation: Sequence[Mapping[str, Any]]


class Fed(NamedTuple):
  """How the host reads the images of one split of a source."""

  read: Reader
  reading: Reading


def fed(source: Source, split: str, feed: Feed) -> Fed | None:
  """How the host reads a split; None if its images are on the device.

  Args:
    source: the split's images.
    split: 'train' or 'validation'.
    feed: the config's block.

  Raises:
    InputError: a transform that cannot be built, a random one for evaluation, or transforms of
      images that are on the device.
  """
  key = {'train': 'train', 'validation': 'evaluation'}[split]
  specs = getattr(feed, key)
  if not feed.chunk_steps:
    if specs:
      raise InputError(f'feed.{key} is for images that the host feeds: set feed.chunk_steps')
    return None
  transform = transforms.build(specs, f'feed.{key}') if specs else None
  if key == 'evaluation':
    transforms.check_fixed(specs, 'feed.evaluation')
  read = Reader(source, transform, f'feed.{key}')
  return Fed(read, Reading(feed.chunk_steps, feed.threads, feed.workers))


class Batches:
  """The batches of consecutive steps, read ahead: an iterator with `close`.

  Args:
    read: reads one image.
    steps: what each step reads.
    first: number of the first step.
    stop: number of the last step, plus 1.
    reading: how much is read at once.
    part: which of the B rows of each batch to read here; None for all.

  Yields:
    {'image' [..., rows, H, W, C], 'label' [..., rows]} for each step.

  Example:
    >>> from datasets.source import ArraySource
    >>> source = ArraySource(np.zeros((9, 2, 2, 1), np.uint8), np.zeros(9, int), ['a'])
    >>> def step(number):
    ...   rows = np.arange(3) + 3 * number
    ...   return Step(rows, rows % 2, key=(0, number))
    >>> batches = Batches(Reader(source), step, 1, 3, Reading(), part=slice(0, 2))
    >>> [(batch['image'].shape, batch['label'].tolist()) for batch in batches]
    [((2, 2, 2, 1), [1, 0]), ((2, 2, 2, 1), [0, 1])]
  """

  def __init__(
    self,
    read: Reader,
    steps: Steps,
    first: int,
    stop: int,
    reading: Reading,
    part: slice | None = None,
  ):
    example = steps(first).label
    part = part or slice(0, example.shape[-1])
    self._shape = example[..., part].shape
    count = math.prod(self._shape)
    size = next(n for n in range(min(GROUP, count), 0, -1) if count % n == 0)
    self._groups = count // size
    read_group = _ReadGroup(read, steps, part, size, self._groups)
    numbers = grain.MapDataset.range(first * self._groups, stop * self._groups)
    buffered = reading.ahead * self._groups
    options = grain.ReadOptions(reading.threads, max(buffered, reading.threads))
    found = numbers.map(read_group).to_iter_dataset(options)
    if reading.workers:
      each = max(1, buffered // reading.workers)
      found = found.mp_prefetch(grain.MultiprocessingOptions(reading.workers, each))
    self._groups_of_images = iter(found)

  def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    parts = [next(self._groups_of_images) for _ in range(self._groups)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: x.reshape(*self._shape, *x.shape[1:]) for name, x in joined.items()}

  def close(self) -> None:
    """Stops the threads and processes that read."""
    self._groups_of_images.close()


class _ReadGroup(NamedTuple):
  """Reads one group of a step's images, by its number among the groups of all steps."""

  read: Reader
  steps: Steps
  part: slice
  size: int
  groups: int

  def __call__(self, number: int) -> dict[str, np.ndarray]:
    at, group = divmod(number, self.groups)
    step = self.steps(at)
    index, label = (x[..., self.part] for x in (step.index, step.label))
    rows = index.shape[-1]
    images = []
    for place in range(group * self.size, (group + 1) * self.size):
      episode, row = divmod(place, rows)
      key = *step.key, step.first + episode, self.part.start + row
      images.append(self.read(int(index.flat[place]), key))
    some = slice(group * self.size, (group + 1) * self.size)
    return {'image': self.read.stacked(images), 'label': label.reshape(-1)[some]}


class InOrder:
  """Batches by step number, read ahead as long as they are requested in order.

  Args:
    begin: step number -> the batches from that step on.

  Example:
    >>> batches = InOrder(lambda first: iter(range(10 * first, 100, 10)))
    >>> batches(3), batches(4), batches(1)
    (30, 40, 10)
  """

  def __init__(self, begin: Callable[[int], Iterator[Any]]):
    self._begin, self._batches, self._next = begin, iter(()), -1

  def __call__(self, number: int) -> Any:
    if number != self._next:
      self.close()
      self._batches = self._begin(number)
    self._next = number + 1
    return next(self._batches)

  def close(self) -> None:
    """Stops the reading."""
    getattr(self._batches, 'close', lambda: None)()


class Schedule:
  """Maps a running number to a step of some episodes, for episodes of different lengths.

  Args:
    lengths: number of steps of each.

  Example:
    >>> schedule = Schedule([3, 1, 2])
    >>> [schedule(number) for number in (0, 2, 3, 5)], schedule.start(2)
    ([(0, 0), (0, 2), (1, 0), (2, 1)], 4)
  """

  def __init__(self, lengths: Any):
    self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

  def __len__(self) -> int:
    return int(self._starts[-1])

  def __call__(self, number: int) -> tuple[int, int]:
    """The number of the episodes, and the number of the step within them."""
    of = int(np.searchsorted(self._starts, number, side='right')) - 1
    return of, number - int(self._starts[of])

  def start(self, of: int) -> int:
    """The running number of the first step of some episodes."""
    return int(self._starts[of])


def chunks(
  batches: Iterator[Mapping[str, np.ndarray]], num_steps: int, chunk_steps: int
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
  """Consecutive batches, `chunk_steps` at a time.

  Args:
    batches: the steps' batches; `num_steps` of them are taken.
    num_steps: how many steps are taken.
    chunk_steps: C; the last chunk is padded with its last batch, so that all have one shape.

  Yields:
    (number of the chunk's first step, leaves [C, ...]).

  Example:
    >>> batches = ({'label': np.full(2, number)} for number in range(9))
    >>> [(first, chunk['label'][:, 0].tolist()) for first, chunk in chunks(batches, 3, 2)]
    [(0, [0, 1]), (2, [2, 2])]
  """
  for first in range(0, num_steps, chunk_steps):
    held = [next(batches) for _ in range(min(chunk_steps, num_steps - first))]
    held += held[-1:] * (chunk_steps - len(held))
    yield first, {name: np.stack([batch[name] for batch in held]) for name in held[0]}

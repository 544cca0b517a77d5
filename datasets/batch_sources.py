"""Batch sources of training jobs, step number -> batch; the small ones are defined here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from datasets.input_pipeline import Fed, Feed
from l2o.arguments import Count, NotNegative, Range, Whole, checked
from l2o.errors import InputError
from l2o.registry import build

BATCH_SOURCES = {
  'images': 'datasets.labelled_images:images',
  'lane_keeping': 'datasets.lane_keeping:lane_keeping',
  'noise': 'datasets.batch_sources:noise',
  'nothing': 'datasets.batch_sources:nothing',
  'sines': 'datasets.batch_sources:sines',
  'photograph': 'datasets.coordinates:photograph',
  'spiral': 'datasets.batch_sources:spiral',
  'volume': 'datasets.coordinates:volume',
}

Arrays = dict[str, np.ndarray]


class BatchSource(NamedTuple):
  """Batches to train on, one to evaluate on, and an example of their shapes."""

  sample: Callable[[int], Arrays]  # step number -> its batch, always the same
  evaluation: Arrays
  example: Arrays
  test: Arrays | None = None  # used once, for the model with the best evaluation
  num_classes: int = 0  # number of label classes; 0 without labels
  grid: tuple[int, ...] = ()  # shape of the picture that the evaluation's targets form
  skipped: int = 0  # bad records that were left out
  drawn: Callable[[int], Arrays] | None = (
    None  # step -> 'index' and 'label', if the host reads the images
  )
  fed: Fed | None = None  # how the host reads them


def load(spec: Mapping[str, Any], seed: int, feed: Feed | None = None) -> BatchSource:
  """Builds the batch source that `spec` names.

  Args:
    spec: the config's block.
    seed: seed of its draws.
    feed: the config's block of that name, for a batch source whose images the host may feed.

  Raises:
    InputError: there is no such batch source, or it does not take an argument, or its images are
      not fed.
  """
  found = build(BATCH_SOURCES, spec, 'batch_source', seed=seed, feed=feed)
  if feed and feed.chunk_steps and not found.fed:
    raise InputError(f'feed.chunk_steps must be 0 for {spec["name"]!r}, whose data are in memory')
  return found


def nothing() -> BatchSource:
  """Empty batches, for a task without data.

  Example:
    >>> nothing().sample(0)
    {}
  """
  return BatchSource(lambda number: {}, {}, {})


@checked
def noise(seed: Whole, shapes: Mapping[str, Sequence[Count]], evaluated: Whole = 0) -> BatchSource:
  """Batches of normal random numbers, to plan or try out a job whose data are not available.

  Args:
    seed: seed of the numbers.
    shapes: name of an array -> its shape in a batch.
    evaluated: examples to evaluate on, all alike so that they take no memory; 0 for a batch.

  Example:
    >>> source = noise(0, {'coordinates': (7, 3), 'target': (7, 1)}, evaluated=10**9)
    >>> source.sample(4)['coordinates'].shape, source.evaluation['target'].shape
    ((7, 3), (1000000000, 1))
  """

  def drawn(*key: int) -> Arrays:
    rng = np.random.default_rng((seed, *key))
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}

  evaluation = drawn(0)
  if evaluated:
    evaluation = {
      name: np.broadcast_to(x[:1], (evaluated, *x.shape[1:])) for name, x in evaluation.items()
    }
  return BatchSource(lambda number: drawn(1, number), evaluation, drawn(1, 0))


@checked
def sines(
  seed: Whole,
  num_steps: Count = 64,
  batch_size: Count = 8,
  noise: NotNegative = 0.0,
  periods: float = 2.0,
) -> BatchSource:
  """Sequences: three sine curves of different frequency in, a periodic curve out.

  With t over `periods` periods and a random phase p for each sequence:

      inputs = sin(t + p), sin(2 t + p), sin(3 t + p),     target = sin(t + p) cos(2 t)

  The evaluation has 64 other phases and no noise. Curves and phases are ours: HUB (arXiv
  2305.16823) gives no more detail than the first line.

  Args:
    seed: seed of phases and noise.
    num_steps: T, points per sequence.
    batch_size: sequences per batch.
    noise: standard deviation of the noise on inputs and targets of training batches.
    periods: periods covered by a sequence.

  Raises:
    InputError: a number is below 1, or the noise is below 0.

  Example:
    >>> batch = sines(seed=0, num_steps=16, batch_size=2).sample(0)
    >>> batch['inputs'].shape, batch['target'].shape
    ((2, 16, 3), (2, 16, 1))
  """
  t = np.linspace(0.0, 2.0 * np.pi * periods, num_steps)[None]

  def curves(rng: np.random.Generator, count: int) -> Arrays:
    p = rng.uniform(0.0, 2.0 * np.pi, (count, 1))
    inputs = np.stack([np.sin(k * t + p) for k in (1, 2, 3)], axis=-1)
    return {'inputs': inputs, 'target': (np.sin(t + p) * np.cos(2.0 * t))[..., None]}

  def sample(number: int) -> Arrays:
    rng = np.random.default_rng((seed, 1, number))
    clean = curves(rng, batch_size)
    noisy = {name: x + noise * rng.normal(size=x.shape) for name, x in clean.items()}
    return {name: x.astype(np.float32) for name, x in noisy.items()}

  held = curves(np.random.default_rng((seed, 0)), 64)
  return BatchSource(sample, {name: x.astype(np.float32) for name, x in held.items()}, sample(0))


@checked
def spiral(
  seed: Whole,
  num_steps: Annotated[int, Range(at_least=2)] = 50,
  batch_size: Count = 1,
  noise: NotNegative = 0.0,
) -> BatchSource:
  """One trajectory in the plane, to fit an ordinary differential equation to.

      dy/dt = y³ A,    A = [[-0.1, 2], [-2, -0.1]],    y(0) = (2, 0), t from 0 to 5

  The curve of Chen et al., arXiv 1806.07366. A batch is the whole curve, with new noise each time;
  the evaluation has none.

  Args:
    seed: seed of the noise.
    num_steps: T, number of times.
    batch_size: copies of the curve, each with its own noise.
    noise: standard deviation of the noise on targets of training batches.

  Raises:
    InputError: there are fewer than 2 times or no copies, or the noise is below 0.

  Example:
    >>> batch = spiral(seed=0, num_steps=5).sample(0)
    >>> batch['start'].tolist(), batch['target'].shape
    ([[2.0, 0.0]], (1, 5, 2))
  """
  times = np.linspace(0.0, 5.0, num_steps)
  curve = _integrate(lambda y: y**3 @ np.array([[-0.1, 2.0], [-2.0, -0.1]]), [2.0, 0.0], times)

  def batch(target: np.ndarray) -> Arrays:
    start = np.repeat(curve[None, 0], len(target), axis=0)
    arrays = {'start': start, 'times': times, 'target': target}
    return {name: x.astype(np.float32) for name, x in arrays.items()}

  def sample(number: int) -> Arrays:
    rng = np.random.default_rng((seed, number))
    shape = (batch_size, *curve.shape)
    return batch(curve[None] + noise * rng.normal(size=shape))

  return BatchSource(sample, batch(curve[None]), sample(0))


def _integrate(
  slope: Callable[[np.ndarray], np.ndarray], start: list[float], times: np.ndarray
) -> np.ndarray:
  """The classical Runge-Kutta method, 20 steps from one time to the next: [T, D]."""
  points = [np.array(start)]
  for h in np.diff(times) / 20:
    y = points[-1]
    for _ in range(20):
      a = slope(y)
      b = slope(y + h / 2 * a)
      c = slope(y + h / 2 * b)
      y = y + h / 6 * (a + 2 * b + 2 * c + slope(y + h * c))
    points.append(y)
  return np.stack(points)

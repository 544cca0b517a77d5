"""Draws tasks and batches as positions in any data set.

Every draw is a function of (seed, draw number): a run resumed at draw n sees the same data as an
uninterrupted one.
"""

from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from datasets.source import Source
from l2o.arguments import Count
from l2o.errors import InputError


class TaskSampler:
  """Tasks of a few classes of a subset, such as few-way classification.

  A task: `num_ways` classes drawn at random and relabelled 0..num_ways-1; K training batches of
  `batch_size` from the train split; one evaluation batch from the validation split.

  Args:
    train: source of the training batches.
    validation: source of the evaluation batches, of the same classes.
    classes: the subset to draw from.
    num_ways: classes per task.
    batch_size: B, examples of a training batch, drawn with replacement from the task's classes.
    eval_size: E, examples of the evaluation batch, drawn without replacement.
    seed: seed of all draws.
    part: the subset's name in the config, for the error message.

  Raises:
    InputError: there are more ways than classes, too few validation examples for the evaluation
      batch, or no training examples of a class.
  """

  def __init__(
    self,
    train: Source,
    validation: Source,
    classes: Sequence[int],
    *,
    num_ways: Count,
    batch_size: Count,
    eval_size: Count,
    seed: int,
    part: str = 'the subset',
  ):
    if not 1 <= num_ways <= len(classes):
      raise InputError(
        f'episodes.num_ways must be 1 to {len(classes)}, the classes of {part}, not {num_ways}'
      )
    if batch_size < 1 or eval_size < 1:
      raise InputError('episodes.batch_size and episodes.eval_size must be at least 1')
    self._classes = np.asarray(classes)
    self._train = [train.class_index[c] for c in self._classes]
    self._validation = [validation.class_index[c] for c in self._classes]
    if any(len(rows) == 0 for rows in self._train):
      raise InputError('a class of the task distribution has no training examples')
    fewest = sum(sorted(len(rows) for rows in self._validation)[:num_ways])
    if fewest < eval_size:
      raise InputError(
        f'episodes.eval_size is {eval_size}, but {num_ways} classes may have only {fewest} '
        f'validation examples; lower it to {fewest}'
      )
    self._num_ways, self._batch_size, self._eval_size = num_ways, batch_size, eval_size
    self._seed = seed

  def sample(self, draw: int, num_tasks: int, num_steps: int) -> dict[str, Any]:
    """Draws `num_tasks` tasks.

    Args:
      draw: draw number; the same number gives the same tasks.
      num_tasks: b.
      num_steps: K, training batches per task.

    Returns:
      {'train': {'index', 'label'} [b, K, B] int32, 'evaluation': {'index', 'label'} [b, E] int32,
      'classes': [b, num_ways]}.
    """
    rng = np.random.default_rng([self._seed, draw])
    tasks = [self._one(rng, num_steps) for _ in range(num_tasks)]
    return {
      part: _stack([task[part] for task in tasks]) for part in ('train', 'evaluation', 'classes')
    }

  def _one(self, rng: np.random.Generator, num_steps: int) -> dict[str, Any]:
    chosen = rng.choice(len(self._classes), self._num_ways, replace=False)
    index, label = _pool([self._train[c] for c in chosen])
    rows = rng.integers(len(index), size=(num_steps, self._batch_size))
    held_out, held_out_label = _pool([self._validation[c] for c in chosen])
    batch = rng.choice(len(held_out), self._eval_size, replace=False)
    return {
      'train': {'index': index[rows], 'label': label[rows]},
      'evaluation': {'index': held_out[batch], 'label': held_out_label[batch]},
      'classes': self._classes[chosen],
    }


class BatchSampler:
  """Shuffled epochs over a subset of classes, relabelled 0..len(classes)-1 in their order.

  Args:
    source: where the examples are.
    classes: the subset.
    batch_size: B.
    seed: seed of the shuffles.
    key: the batch size's key in the config, for the error message.

  Raises:
    InputError: there are fewer examples than a batch needs.
  """

  def __init__(
    self,
    source: Source,
    classes: Sequence[int],
    batch_size: int,
    seed: int,
    key: str = 'batch_size',
  ):
    self._index, self._label = _pool([source.class_index[c] for c in classes])
    if not 1 <= batch_size <= len(self._index):
      raise InputError(
        f'{key} must be 1 to {len(self._index)} (examples of its classes), not {batch_size}'
      )
    positions = grain.MapDataset.range(len(self._index)).shuffle(seed=seed)
    self._batches = positions.repeat().batch(batch_size)

  def sample(self, draw: int) -> dict[str, np.ndarray]:
    """Batch number `draw`: {'index', 'label'} [B] int32."""
    rows = np.asarray(self._batches[draw])
    return {'index': self._index[rows], 'label': self._label[rows]}


def _pool(rows_of_class: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """All examples of some classes, and their labels among these classes: ([n], [n]) int32."""
  index = np.concatenate(rows_of_class).astype(np.int32)
  sizes = [len(rows) for rows in rows_of_class]
  return index, np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


def _stack(drawn: list) -> Any:
  if isinstance(drawn[0], dict):
    return {name: _stack([d[name] for d in drawn]) for name in drawn[0]}
  return np.stack(drawn)

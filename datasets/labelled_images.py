"""`images`: batches of labelled images from some classes of a source."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

import datasets
from datasets.batch_sources import Arrays, BatchSource
from datasets.input_pipeline import Fed, fed
from datasets.sampler import BatchSampler
from datasets.source import Source, check_classes
from datasets.splits import split_classes
from l2o.arguments import Count, Whole, checked
from l2o.errors import InputError
from l2o.inner.step import fetch
from l2o.registry import choose


@checked
def images(
  seed: Whole,
  source: Mapping[str, Any],
  split: Mapping[str, Any],
  classes: str,
  batch_size: Count = 32,
  num_evaluated: Count = 1000,
  feed: Any = None,
) -> BatchSource:
  """Images of one part of a source's classes, relabelled 0, 1, … in their order.

      image [B, H, W, C] uint8,    label [B] int32

  Batches are shuffled epochs over the source's training images. A random part of its
  validation images is used for evaluation, the rest for the test. All are held in memory, unless
  the config's `feed` has the host read the training images step by step.

  Args:
    seed: seed of the class split, shuffles, and the choice of images to evaluate; the parts of one
      split are disjoint as long as the seed is the same.
    source: name and arguments of a data source, see `datasets.SOURCES`.
    split: part -> number of classes, as `split_classes` takes it.
    classes: a part of the split.
    batch_size: B.
    num_evaluated: validation images of these classes to use for evaluation.
    feed: the config's block of that name, if any.

  Raises:
    InputError: see `datasets.load` and `split_classes`; also if there is no such part, one of its
      classes has no images, a number is below 1, or more images are requested than there are.

  Example:
    >>> split = {'old': 6, 'new': 4}
    >>> batch_source = images(0, {'name': 'digits'}, split, 'new', batch_size=2, num_evaluated=10)
    >>> batch_source.sample(0)['image'].shape, len(batch_source.evaluation['label'])
    ((2, 28, 28, 1), 10)
  """
  train, validation = _load(json.dumps(dict(source)))
  chosen = _chosen(train, validation, split, classes, seed)
  batches = BatchSampler(train, chosen, batch_size, seed, 'batch_source.batch_size')
  evaluation, test = _held_out(validation, chosen, num_evaluated, seed)
  by_host = fed(train, 'train', feed) if feed else None
  evaluated = fed(validation, 'validation', feed) if feed else None

  def sample(number: int) -> Arrays:
    return _batch(train, by_host, batches.sample(number), (seed, number))

  return BatchSource(
    sample,
    _fetch(validation, evaluated, evaluation),
    sample(0),
    _fetch(validation, evaluated, test) if len(test['index']) else None,
    num_classes=len(chosen),
    skipped=train.skipped + validation.skipped,
    drawn=batches.sample if by_host else None,
    fed=by_host,
  )


def _batch(source: Source, by_host: Fed | None, drawn: Arrays, key: tuple[int, ...]) -> Arrays:
  """A batch for training; each of its images has its own random transforms."""
  if by_host is None:
    return fetch(source.arrays(), drawn)
  images = [by_host.read(int(index), (*key, row)) for row, index in enumerate(drawn['index'])]
  return {'image': by_host.read.stacked(images), 'label': drawn['label']}


def _chosen(
  train: Source, validation: Source, split: Mapping[str, Any], classes: str, seed: int
) -> np.ndarray:
  """The classes of one part of the split, all with images to train and to evaluate on."""
  parts = split_classes(len(train.class_names), split, seed, 'batch_source.split')
  chosen = parts[choose(classes, parts, 'part of batch_source.split')]
  for name, source in zip(datasets.SPLITS, (train, validation), strict=True):
    check_classes(source, chosen, f'batch_source.source, {name}')
  return chosen


def _held_out(
  validation: Source, chosen: np.ndarray, num_evaluated: int, seed: int
) -> tuple[Arrays, Arrays]:
  """Positions and labels of the images to evaluate on, and of those to test on."""
  total = sum(len(validation.class_index[c]) for c in chosen)
  drawn = BatchSampler(validation, chosen, total, seed, 'batch_source.num_evaluated').sample(0)
  if num_evaluated > total:
    raise InputError(f'batch_source.num_evaluated must be at most {total}, not {num_evaluated}')
  evaluation = {name: x[:num_evaluated] for name, x in drawn.items()}
  return evaluation, {name: x[num_evaluated:] for name, x in drawn.items()}


def _fetch(source: Source, by_host: Fed | None, drawn: Arrays) -> Arrays:
  if by_host is None:
    return fetch(source.arrays(), drawn)
  return {'image': by_host.read.images(drawn['index']), 'label': drawn['label']}


@functools.lru_cache(maxsize=1)  # the jobs of a sweep share their images
def _load(source: str) -> tuple[Source, ...]:
  return tuple(datasets.load(json.loads(source), part) for part in datasets.SPLITS)

"""The data of a run: every source is loaded once, and its classes are split."""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import datasets
from datasets import digests
from datasets.batch_sources import BatchSource
from datasets.input_pipeline import fed
from datasets.sampler import TaskSampler
from datasets.source import check_classes
from datasets.splits import split_classes
from l2o.errors import InputError
from l2o.registry import choose
from l2o.types import PyTree
from trainers.checks import blocks
from trainers.processes import agreement, store


class Data(NamedTuple):
  """All data that a run reads."""

  sources: Mapping[str, Mapping[str, datasets.Source]]  # name -> split -> source
  parts: Mapping[str, Mapping[str, np.ndarray]]  # source -> part of its split -> classes
  seed: int
  feed: blocks.Feed


def stream_seed(seed: int, use: str) -> int:
  """A 31-bit seed for one use of randomness in a run, independent of its other uses.

  It depends only on the seed and the name, so adding another experiment changes nothing.
  """
  return zlib.crc32(f'{seed}/{use}'.encode()) & 0x7FFFFFFF


def load(config: blocks.PipelineConfig) -> Data:
  """Loads the sources a config names and splits their classes.

  Raises:
    InputError: no source, missing data, a split larger than the data set, or image shapes that
      differ.
  """
  if not config.sources:
    raise InputError('config.sources is empty: give it a data source')
  sources = {
    name: {split: datasets.load(spec, split) for split in datasets.SPLITS}
    for name, spec in config.sources.items()
  }
  _compare(sources)
  shapes = {name: _shape_of(source, config.feed) for name, source in sources.items()}
  if len(set(shapes.values())) > 1:
    raise InputError(
      f'all sources must have images of one shape, not {shapes}; give them one size, or transforms '
      f'in feed that do'
    )
  parts = {
    choose(name, sources, 'source'): split_classes(
      len(sources[name]['train'].class_names), sizes, config.seed, f'class_split.{name}'
    )
    for name, sizes in config.class_split.items()
  }
  return Data(sources, parts, config.seed, config.feed)


def check_tokens(data: Data, model: Any) -> None:
  """Raises InputError if a text source has tokens that the model has no embedding for."""
  known = getattr(model, 'vocab_size', math.inf)
  for name, splits in data.sources.items():
    if (used := getattr(splits['train'], 'num_tokens', 0)) > known:
      raise InputError(
        f'sources.{name} has {used:,} tokens, but model.vocab_size is {known:,}: set it to {used}'
      )


def _compare(sources: Mapping[str, Mapping[str, datasets.Source]]) -> None:
  """Raises InputError if the processes of the run have different data."""
  if store.count() > 1:
    parts = [(name, split) for name, splits in sources.items() for split in splits]
    found = {f'sources.{n}, {s}': digests.of_source(sources[n][s]) for n, s in parts}
    agreement.same(found, 'their data')


def classes_of(data: Data, source: str, part: str) -> np.ndarray:
  """The classes in one part of a source's split, or all of them for 'all'.

  Raises:
    InputError: there is no such source, or no such part of its split, or a class has no training
      examples.
  """
  classes = _listed(data, source, part)
  check_classes(data.sources[source]['train'], classes, f'sources.{source}, train')
  return classes


def _listed(data: Data, source: str, part: str) -> np.ndarray:
  split = data.parts.get(choose(source, data.sources, 'source'), {})
  if choose(part, (*split, 'all'), f'part of class_split.{source}') == 'all':
    return np.arange(len(data.sources[source]['train'].class_names))
  return split[part]


def class_names(data: Data, source: str, part: str) -> list[str]:
  """The names of the classes in one part of a source's split, with or without examples."""
  names = data.sources[source]['train'].class_names
  return [str(names[c]) for c in _listed(data, source, part)]


def dealt_classes(data: Data, *more: tuple[str, str]) -> dict[str, dict[str, list[str]]]:
  """The names of the classes of each part of each split: source -> part -> names.

  Args:
    data: the loaded data.
    *more: (source, part) to list as well, such as 'all' classes of a source without a split.
  """
  pairs = [(source, part) for source, split in data.parts.items() for part in split]
  found: dict[str, dict[str, list[str]]] = {}
  for source, part in dict.fromkeys([*pairs, *more]):
    found.setdefault(source, {})[part] = class_names(data, source, part)
  return found


def skipped_records(data: Iterable[datasets.Source | BatchSource]) -> dict[str, int]:
  """The number of bad records that were left out, for metrics and results; empty if none were.

  Example:
    >>> train, validation, digits = (BatchSource(None, {}, {}, skipped=n) for n in (3, 1, 0))
    >>> skipped_records([train, validation, digits]), skipped_records([digits])
    ({'skipped_records': 4}, {})
  """
  count = sum(part.skipped for part in data)
  return {'skipped_records': count} if count else {}


def image_shape(data: Data) -> tuple[int, int, int]:
  """The shape (H, W, C) of the images that networks see, shared by all sources."""
  return _shape_of(next(iter(data.sources.values())), data.feed)


def _shape_of(splits: Mapping[str, datasets.Source], feed: blocks.Feed) -> tuple[int, int, int]:
  """The shape of a source's images after their transforms."""
  readers = {split: fed(splits[split], split, feed) for split in datasets.SPLITS}
  if not (feed.train or feed.evaluation):
    if (shape := splits['train'].image_shape) is None:
      raise InputError(
        'images of different sizes need a `size` in their source, or transforms in feed.train and '
        'feed.evaluation that give them one'
      )
    return shape
  shapes = {split: found.read(0).shape for split, found in readers.items() if found}
  if len(set(shapes.values())) > 1:
    raise InputError(
      f'feed.train gives images of {shapes["train"]}, feed.evaluation of {shapes["validation"]}; '
      f'give them one size'
    )
  return shapes['train']


def task_sampler(
  data: Data, spec: blocks.Episodes, source: str, part: str, seed: int
) -> TaskSampler:
  """A sampler of tasks over one part of a source's classes.

  Args:
    data: the loaded data.
    spec: the config's `episodes` block.
    source: name of the source.
    part: a part of the source's class split, or 'all' classes.
    seed: seed of the draws, from `stream_seed`.

  Raises:
    InputError: see `classes_of`; a class has no validation examples, or too few.
  """
  classes = classes_of(data, source, part)
  splits = data.sources[source]
  check_classes(splits['validation'], classes, f'sources.{source}, validation')
  return TaskSampler(
    splits['train'],
    splits['validation'],
    classes,
    num_ways=spec.num_ways,
    batch_size=spec.batch_size,
    eval_size=spec.eval_size,
    seed=seed,
    part=part,
  )


def stores(data: Data, names: Sequence[str]) -> dict[str, dict[str, PyTree]]:
  """The images that tasks look up: name -> {'train', 'evaluation'}, empty if the host feeds them.

  Shorter stores are padded with black images that no task refers to, since stores of the same shape
  share compiled programs.
  """
  chosen = {name: data.sources[choose(name, data.sources, 'source')] for name in names}
  if data.feed.chunk_steps:
    return {name: {'train': {}, 'evaluation': {}} for name in chosen}
  found: dict[str, dict[str, PyTree]] = {name: {} for name in chosen}
  for part, split in (('train', 'train'), ('evaluation', 'validation')):
    longest = max(len(splits[split]) for splits in chosen.values())
    for name, splits in chosen.items():
      images = splits[split].arrays()
      found[name][part] = {key: _fill(array, longest) for key, array in images.items()}
  return found


def _fill(array: np.ndarray, length: int) -> np.ndarray:
  return np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1))

"""Finds classes that were already seen in earlier training.

Results on them say nothing about unseen classes, so a run that has such classes must opt in with
`meta_evaluate.allow_seen_classes`.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from datasets import idx
from l2o.artifacts.artifact import read
from reports.results import Results
from trainers.checks import blocks
from trainers.resources import run_data

FOLDERS = {'idx': idx.VARIABLE}  # source without a path -> environment variable that holds it

Classes = tuple[tuple, frozenset[str]]  # a data set, and the names of some of its classes


class Leak(NamedTuple):
  """Classes that were seen in earlier training."""

  experiment: str  # '' for the tasks of meta-training
  optimizer: str  # the one meta-trained on them; '' for pretraining, which all share
  classes: frozenset[str]

  def __str__(self) -> str:
    first, *more = sorted(self.classes)
    listed = f'{first!r} and {len(more)} more' if more else f'{first!r}'
    before = f'meta-training of {self.optimizer}' if self.optimizer else 'pretraining'
    here = f'experiment {self.experiment}' if self.experiment else 'meta-training'
    return f'{here} has classes that {before} had seen: {listed}'


def find(
  config: blocks.PipelineConfig,
  data: run_data.Data,
  places: Mapping[str, blocks.Experiment],
  learned: Mapping[str, Mapping[str, Any]],
) -> list[Leak]:
  """All leaks of a run.

  Args:
    config: the run's config.
    data: its sources and class split.
    places: the experiments.
    learned: learned optimizer -> the spec of its rule; the run's own optimizer comes first.
  """

  def classes(source: str, part: str) -> Classes:
    return identity(config.sources[source]), frozenset(run_data.class_names(data, source, part))

  starts = {
    name: classes(start.source, start.classes)
    for name, start in config.pretrain.starts.items()
    if not start.weights  # which classes these have seen is unknown
  }
  own, *_ = learned
  meta_trained = {name: list(_meta_trained(spec)) for name, spec in learned.items()}
  here = classes(config.meta_train.source, config.meta_train.classes)
  leaks = []
  if config.meta_train.num_generations:
    meta_trained[own].append(here)
    if config.meta_train.start in starts:
      leaks.append(Leak('', '', _common(here, starts[config.meta_train.start])))
  for experiment, where in places.items():
    evaluated = classes(where.source, where.classes)
    if where.start in starts:
      leaks.append(Leak(experiment, '', _common(evaluated, starts[where.start])))
    leaks += [
      Leak(experiment, name, _common(evaluated, before))
      for name, trained in meta_trained.items()
      for before in trained
    ]
  return [leak for leak in leaks if leak.classes]


def mark(rows: Results, leaks: list[Leak]) -> None:
  """Adds to each row of results the number of its classes seen before, as 'seen_classes'."""
  for row in rows:
    found = [
      leak.classes
      for leak in leaks
      if leak.experiment == row['experiment'] and leak.optimizer in ('', row['optimizer'])
    ]
    if found:
      row['seen_classes'] = len(frozenset.union(*found))


def _common(a: Classes, b: Classes) -> frozenset[str]:
  return a[1] & b[1] if a[0] == b[0] else frozenset()


def identity(source: Mapping[str, Any]) -> tuple[str, ...]:
  """A key that is equal for two sources if equal class names mean the same classes.

  Example:
    >>> cifar = {'name': 'tfds', 'dataset': 'cifar100'}
    >>> identity(cifar) == identity({**cifar, 'dataset': 'cifar100:3.0.2', 'size': 16})
    True
    >>> identity(cifar) == identity({'name': 'tfds', 'dataset': 'cifar10'})
    False
  """
  name = source['name']
  if name == 'tiny_imagenet':  # there is only one, wherever it lies
    return (name,)
  dataset, _, _ = source.get('dataset', '').partition(':')  # without a version
  path = source.get('path') or source.get('folder') or os.environ.get(FOLDERS.get(name, ''), '')
  return name, dataset, os.path.realpath(path) if path else ''


def cards(spec: Any) -> Iterator[Mapping[str, Any]]:
  """The cards of all optimizer files named in a rule's spec, at any depth."""
  if not isinstance(spec, Mapping):
    return
  if spec.get('name') == 'artifact':
    yield read(spec['path']).card
  for block in spec.values():
    yield from cards(block)


def _meta_trained(spec: Any) -> Iterator[Classes]:
  """The classes that the optimizer files named in a rule's spec were meta-trained on."""
  for card in cards(spec):
    try:
      config = card['config']
      # Older files: the source has its own key, and the part is always `meta_train`.
      main = config['source'] if 'source' in config else config['meta_train']['source']
      part = config['meta_train'].get('classes', 'meta_train')
      source, names = config['sources'][main], card['classes'][main][part]
    except (KeyError, TypeError):
      continue  # not recorded in the card
    yield identity(source), frozenset(names)

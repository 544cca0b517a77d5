"""What the blocks of a config may hold: types and bounds, checked before anything is built."""

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from l2o.arguments import Count, NotNegative, Positive, Range, Whole
from l2o.errors import InputError
from l2o.registry import call

Block = Mapping[str, Any]
MAX_CPU_DEVICES = 256  # one a core
NAME = re.compile(r'[\w=+(][\w=+,.() -]*')  # fit for a folder and for a key of results


class PipelineConfig(NamedTuple):
  """The config of a pipeline: pretraining, meta-training, meta-evaluation."""

  seed: Whole
  cpu_devices: Annotated[int, Range(at_least=1, at_most=MAX_CPU_DEVICES)]
  log_every_secs: Positive
  checkpoint_every_secs: NotNegative
  keep_checkpoints: Count
  feed: Block
  sweep: Sequence[Block]
  sweep_seeds: Sequence[Whole]
  first: Sequence[Block]
  sources: Mapping[str, Block]
  source: str
  class_split: Mapping[str, Block]
  model: Block
  task: Block
  tasks: Block
  pretrain: Block
  rule: Block
  estimator: Block
  meta_train: Block
  meta_evaluate: Block


class JobConfig(NamedTuple):
  """The config of a training job."""

  seed: Whole
  cpu_devices: Annotated[int, Range(at_least=1, at_most=MAX_CPU_DEVICES)]
  log_every_secs: Positive
  checkpoint_every_secs: NotNegative
  keep_checkpoints: Count
  feed: Block
  sweep: Sequence[Block]
  sweep_seeds: Sequence[Whole]
  first: Sequence[Block]
  stream: Block
  model: Block
  task: Block
  rule: Block
  start: str
  train: Block


class Tasks(NamedTuple):
  """The block `tasks` of a pipeline."""

  num_ways: Annotated[int, Range(at_least=2)]
  batch_size: Count
  eval_size: Count


class Train(NamedTuple):
  """The block `train` of a training job."""

  num_steps: Count
  log_every: Count
  eval_every: Whole
  comparisons: Whole
  nonfinite: Block
  mesh: Block
  placement: Sequence[Sequence[Any]]


class Pretrain(NamedTuple):
  """The block `pretrain` of a pipeline."""

  num_steps: Count
  batch_size: Count
  learning_rate: Positive
  optimizer: Block
  mesh: Block
  log_every: Count
  starts: Mapping[str, Block]


class MetaTrain(NamedTuple):
  """The block `meta_train` of a pipeline."""

  num_generations: Whole
  meta_batch: Count
  min_steps: Count
  max_steps: Count
  learning_rate: Positive
  learning_rate_halves_every: Positive
  mapping: str
  task_mapping: str
  mesh: Block


class MetaEvaluate(NamedTuple):
  """The block `meta_evaluate` of a pipeline."""

  num_steps: Sequence[Count]
  num_tasks: Annotated[int, Range(at_least=2)]
  trace_tasks: Count
  trace_steps: Count
  mapping: str
  setting_mapping: str
  mesh: Block
  experiments: Mapping[str, Block]
  paper: Mapping[str, Mapping[str, Sequence[Annotated[float, Range(at_least=0, at_most=100)]]]]
  baselines: Mapping[str, Block]
  bootstrap_samples: Count
  allow_seen_classes: bool = False


class SweepRow(NamedTuple):
  """A row of the block `sweep`."""

  table: str
  paper: float | None
  diff: Block


def check(config: Any) -> None:
  """Raises InputError for a config that lacks a block or has one of another kind.

  Example:
    >>> check({'train': {}, 'seed': -1})
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: config.seed must be at least 0, not -1
  """
  if not isinstance(config, Mapping):
    raise InputError(f'a config is a dict of blocks, not {config!r}')
  call(JobConfig if 'train' in config else PipelineConfig, config, 'config')


def check_names(names: Iterable[str], what: str) -> None:
  """Raises InputError for a name that is no name of a folder, or two that differ in case alone.

  Example:
    >>> check_names(['Adam', 'adam'], 'a row')
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: a row is called 'adam' and another 'Adam'; rename one
  """
  taken: dict[str, str] = {}
  for name in names:
    if not isinstance(name, str) or not NAME.fullmatch(name) or pathlib.Path(name).name != name:
      raise InputError(
        f'{what} cannot be called {name!r}: use letters, digits, spaces and =+,.()_-'
      )
    if (other := taken.setdefault(name.casefold(), name)) != name:
      raise InputError(f'{what} is called {name!r} and another {other!r}; rename one')

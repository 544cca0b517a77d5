"""The blocks of a config: each key's meaning and allowed values. Source of `docs/config.md`."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from l2o.arguments import Count, NotNegative, Positive, Range, Whole
from l2o.errors import InputError
from trainers.checks.schema import parse

MAX_CPU_DEVICES = 256  # one per core
NAME = re.compile(r'[\w=+(][\w=+,.() -]*')  # valid as a folder name and as a key in results

Size = Annotated[int, Range(at_least=-1)]  # size of a mesh axis
Mesh = Mapping[str, Size]
Spec = Mapping[str, Any]  # name of a registry entry, and its arguments
Percent = Annotated[float, Range(at_least=0, at_most=100)]

block = dataclasses.dataclass(frozen=True, kw_only=True)


@block
class SweepRow:
  """A row of a sweep: a change to the config, run once for each seed."""

  table: Annotated[str, 'the table it belongs to; for training jobs, its label']
  paper: Annotated[
    float | Mapping[str, float | None] | None,
    'what a paper reports: the accuracy in %; for training jobs, measure -> value in the unit used '
    'here, None if it was not finite',
  ] = None
  diff: Annotated[Mapping[str, Any], 'dotted key -> value']


@block
class Run:
  """Keys that every run has."""

  seed: Annotated[Whole, 'seed of every random draw']
  cpu_devices: Annotated[
    int, Range(at_least=1, at_most=MAX_CPU_DEVICES), 'devices that a CPU is split into'
  ]
  log_every_secs: Annotated[Positive, 'seconds between progress lines']
  checkpoint_every_secs: Annotated[NotNegative, 'seconds between checkpoints']
  keep_checkpoints: Annotated[Count, 'how many of the newest checkpoints to keep']
  sweep: Annotated[Sequence[SweepRow], 'runs that differ from this config']
  sweep_seeds: Annotated[Sequence[Whole], 'seeds of each row of the sweep']
  first: Annotated[Sequence[SweepRow], 'at most one training job, whose model the rows start from']


@block
class Feed:
  """How images reach the device."""

  chunk_steps: Annotated[Whole, 'steps that the host reads ahead; 0: all images are on the device']
  tasks_at_once: Annotated[Count, 'evaluation tasks whose states are on the device at once']
  threads: Annotated[Count, 'threads that read images, in this process or in each worker']
  workers: Annotated[Whole, 'processes that read images; 0: only this process'] = 0
  train: Annotated[Sequence[Spec], 'transforms of training images, applied in this order'] = ()
  evaluation: Annotated[Sequence[Spec], 'transforms of evaluation images'] = ()


@block
class Episodes:
  """Few-way classification tasks, drawn anew for each episode."""

  num_ways: Annotated[Count, 'classes per task; at least 2 in classification']
  batch_size: Annotated[Count, 'examples per training batch']
  eval_size: Annotated[Count, 'examples of the evaluation batch']


@block
class Start:
  """A network to start from: pretrained here on some classes, or with weights from a file."""

  source: Annotated[str, 'what it is pretrained on, one of sources'] = ''
  classes: Annotated[str, "a part of the source's class split, or 'all'"] = ''
  number: Annotated[Whole, 'number of its random draws: each gives a different network'] = 0
  weights: Annotated[
    str,
    'in place of all other keys: a safetensors file of pretrained weights, relative to the current '
    'directory',
  ] = ''


@block
class Pretrain:
  """Supervised training of the networks that tasks start from."""

  num_steps: Annotated[Count, 'total number of steps']
  batch_size: Annotated[Count, 'examples per batch']
  rule: Annotated[Spec, 'the optimizer, a rule']
  mesh: Annotated[Mesh, "devices per axis; -1: all remaining. Batches are split over 'data'"]
  log_every: Annotated[Count, 'steps between two rows of metrics']
  starts: Annotated[Mapping[str, Start], 'name -> network']


@block
class MetaTrain:
  """Meta-training: theta follows an estimate of the meta-gradient."""

  source: Annotated[str, 'where its tasks come from, one of sources']
  classes: Annotated[str, "a part of the source's class split, or 'all'"]
  start: Annotated[str, 'the network they start from, one of pretrain.starts']
  num_generations: Annotated[Whole, 'total number of generations; 0: theta stays as it is']
  meta_batch: Annotated[Count, 'tasks per generation, the same for all candidates']
  min_steps: Annotated[Count, 'lower bound of K, drawn uniformly for each generation']
  max_steps: Annotated[Count, 'upper bound of K, inclusive']
  optimizer: Annotated[Spec, 'for theta: any optax optimizer, its learning_rate and schedule']
  mapping: Annotated[str, "how a device runs its candidates: 'vectorized', 'sequential', 'auto'"]
  task_mapping: Annotated[str, 'how a candidate runs its tasks: the same choices']
  mesh: Annotated[Mesh, "devices per axis; candidates are spread over 'population'"]
  objective: Annotated[
    str,
    "the loss that nes and full_es minimize: 'final', on evaluation data after K steps, or the "
    "'mean' of the K training losses; estimators that use windows have their own objective",
  ] = 'final'
  eval_every: Annotated[
    Whole,
    'generations between evaluations of theta on fixed tasks of the same classes, over max_steps '
    'steps; also before the first generation and after the last; 0: none',
  ] = 0
  eval_tasks: Annotated[Count, 'tasks per evaluation of theta'] = 8


@block
class Experiment:
  """Where the tasks of an evaluation come from."""

  source: Annotated[str, 'one of sources']
  classes: Annotated[str, "a part of the source's class split, or 'all'"]
  start: Annotated[str, "one of pretrain.starts, or 'random' for an untrained network"]


@block
class Baseline:
  """An optimizer to compare with: one row, or one for each learning rate."""

  rule: Annotated[Spec, 'the optimizer, a rule']
  learning_rates: Annotated[
    Sequence[Positive], 'a grid, for hand_designed, celo2 and celo2_base'
  ] = ()


@block
class MetaEvaluate:
  """Meta-evaluation: every optimizer on the same unseen tasks, at every horizon."""

  num_steps: Annotated[Sequence[Count], 'horizons K']
  num_tasks: Annotated[int, Range(at_least=2), 'tasks per experiment']
  trace_tasks: Annotated[Count, "tasks on which the learned rule's diagnostics are recorded"]
  trace_steps: Annotated[Count, 'recorded steps of each of these tasks']
  mapping: Annotated[str, "how a device runs its tasks: 'vectorized', 'sequential', 'auto'"]
  setting_mapping: Annotated[str, 'how a task runs the settings of a baseline: the same choices']
  mesh: Annotated[Mesh, "devices per axis; tasks are spread over 'population'"]
  experiments: Annotated[Mapping[str, Experiment], 'name -> tasks']
  paper: Annotated[
    Mapping[str, Mapping[str, Sequence[Percent]]],
    'experiment -> optimizer -> accuracy in % at each horizon, to compare with ours',
  ]
  baselines: Annotated[Mapping[str, Baseline], 'name -> optimizer']
  bootstrap_samples: Annotated[Count, 'resamples for each interval']
  allow_seen_classes: Annotated[bool, 'allow evaluation on classes seen in training'] = False
  tuning_tasks: Annotated[
    Whole,
    'other tasks of the same classes, on which the learning rate of each baseline and horizon is '
    'chosen; 0: the best of a grid on the evaluated tasks counts, in hindsight',
  ] = 0
  draw_steps: Annotated[
    Whole,
    'steps to draw batches for: runs with the same value have the same tasks even if their '
    '`num_steps` differ; 0: the longest of `num_steps`',
  ] = 0

  @property
  def drawn_steps(self) -> int:
    """The number of steps for which batches of each task are drawn."""
    return self.draw_steps or max(self.num_steps)


@block
class PipelineConfig(Run):
  """A pipeline: pretraining, meta-training, meta-evaluation."""

  feed: Annotated[Feed, 'how images reach the device']
  sources: Annotated[Mapping[str, Spec], 'name -> data source']
  class_split: Annotated[
    Mapping[str, Mapping[str, Any]], "source -> part -> number of classes, or {'first': number}"
  ]
  model: Annotated[Spec, 'the network, a model']
  task: Annotated[Spec, 'what is trained, a task']
  episodes: Annotated[Episodes, 'the few-way tasks that are drawn from a source']
  pretrain: Annotated[Pretrain, 'the first stage']
  rule: Annotated[Spec, 'the learned optimizer, a rule']
  estimator: Annotated[Spec, 'how the meta-gradient is estimated, an estimator']
  meta_train: Annotated[MetaTrain, 'the second stage']
  meta_evaluate: Annotated[MetaEvaluate, 'the third stage']


@block
class Train:
  """The steps of a training job."""

  num_steps: Annotated[Count, 'total number of steps']
  log_every: Annotated[Count, 'steps between two rows of metrics']
  eval_every: Annotated[Whole, 'steps between evaluations; 0: only at the end']
  comparisons: Annotated[
    Whole, 'fresh batches per step on which LGL2O compares its proposals; 0: none, without LGL2O'
  ]
  nonfinite: Annotated[Spec, 'what to do when the loss is not finite, a policy']
  mesh: Annotated[Mesh, "devices per axis; batches are split over 'data'"]
  placement: Annotated[
    Sequence[Sequence[Any]],
    'for parameters: (regular expression, mesh axis or None for each array axis)',
  ]


@block
class JobConfig(Run):
  """A training job: one network, or one function's argument, with one optimizer."""

  batch_source: Annotated[Spec, 'what it trains on, a batch source']
  model: Annotated[Spec, 'the network, a model; empty for a task without one']
  task: Annotated[Spec, 'what is trained, a task']
  rule: Annotated[Spec, 'the optimizer, a rule']
  start: Annotated[
    str,
    'workdir of a finished job to start from (its best model), relative to this one; or a '
    'safetensors file of pretrained weights, relative to the current directory',
  ]
  train: Annotated[Train, 'the training loop']
  feed: Annotated[Feed, 'how images of the batch source `images` reach the device'] = Feed(
    chunk_steps=0, tasks_at_once=1, threads=1
  )


def typed(config: Any) -> PipelineConfig | JobConfig:
  """A frozen config as dataclasses.

  Raises:
    InputError: a key is unknown, missing or of the wrong type.

  Example:
    >>> typed({'train': {}, 'seed': -1})
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: config.train needs num_steps, log_every, eval_every, comparisons, \
nonfinite, mesh, placement
  """
  if not isinstance(config, Mapping):
    raise InputError(f'a config is a dict of blocks, not {config!r}')
  return job(config) if 'train' in config else pipeline(config)


def pipeline(config: Any) -> PipelineConfig:
  """The config of a pipeline, typed.

  Raises:
    InputError: see `typed`; also a start that is neither pretrained nor a file, or both.
  """
  found = parse(PipelineConfig, config, 'config')
  for name, start in found.pretrain.starts.items():
    trained = {key: value for key, value in dataclasses.asdict(start).items() if key != 'weights'}
    if start.weights and (extra := [key for key, value in trained.items() if value]):
      raise InputError(
        f'config.pretrain.starts.{name} has weights, which are not trained here; leave out '
        f'{" and ".join(extra)}'
      )
    missing = [key for key in ('source', 'classes') if not trained[key]]
    if missing and not start.weights:
      instead = ', or weights in their place' if len(missing) > 1 else ''
      raise InputError(f'config.pretrain.starts.{name} needs {", ".join(missing)}{instead}')
  return found


def job(config: Any) -> JobConfig:
  """The config of a training job, typed."""
  return parse(JobConfig, config, 'config')


def check_names(names: Iterable[str], what: str) -> None:
  """Raises InputError for a name unfit for a folder, or two names that differ only in case.

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
        f'{what} cannot be called {name!r}: begin with a letter, a digit or one of _=+( and use '
        f'letters, digits, spaces and =+,.()_-'
      )
    if (other := taken.setdefault(name.casefold(), name)) != name:
      raise InputError(f'{what} is called {name!r} and another {other!r}; rename one')

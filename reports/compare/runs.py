"""The runs to compare: their configs, what they measured, and which of them differ only in seed."""

import collections
import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from l2o.errors import InputError
from reports import records, results, workdir
from reports.figures import of_run
from reports.page import job, progress
from reports.workdir import Workdir

OUTSIDE = ('seed', 'sweep', 'sweep_seeds', 'first')  # ignored when configs are compared
TASKS = ('meta_evaluate.experiments', 'meta_evaluate.num_tasks', 'feed.evaluation')
ABSENT = '—'
DIGITS = 9  # of a git revision


class Run(NamedTuple):
  """A run that is not a sweep."""

  name: str
  workdir: Workdir
  config: Mapping[str, Any]  # without OUTSIDE
  measured: pd.DataFrame  # records of its own optimizer and of its hand-designed rivals

  @property
  def seed(self) -> int:
    """The run's seed."""
    return self.workdir.config['seed']

  @property
  def state(self) -> str:
    """How far the run is."""
    return 'ended' if self.workdir.results is not None else progress.where(self.workdir)

  @property
  def revision(self) -> str:
    """The git revision of its last start, if it is known."""
    path = self.workdir / workdir.VERSIONS
    starts = workdir.read(path) if path.is_file() else []
    return str(starts[-1].get('git') or ABSENT)[:DIGITS] if starts else ABSENT


class Group(NamedTuple):
  """Runs of one config with different seeds."""

  name: str
  runs: Sequence[Run]


@dataclasses.dataclass(frozen=True, eq=False)
class Gathered:
  """What can be shown side by side, and what was given but cannot be."""

  groups: Sequence[Group]
  left_out: Sequence[str]  # a sentence for each workdir


def gather(paths: Sequence[pathlib.Path]) -> Gathered:
  """Groups runs by config, including those inside sweeps; a repeated run makes a second group.

  Pipelines are not compared with training jobs: runs of another kind than the first are left out,
  as are sweeps in which nothing has begun.

  Args:
    paths: workdirs of runs and sweeps, finished or not.

  Raises:
    InputError: a path is not a workdir, or no run has begun.
  """
  inside = {path: list(_inside(path)) for path in paths}
  every = [run for runs in inside.values() for run in runs]
  if not every:
    raise InputError(f'no run has begun in {", ".join(map(str, paths))}; give them later')
  first = every[0]
  left_out = [
    said for path, runs in inside.items() if (said := _left_out(path.as_posix(), runs, first))
  ]
  return Gathered(_grouped([run for run in every if _kind(run) == _kind(first)]), left_out)


def _left_out(path: str, runs: Sequence[Run], first: Run) -> str:
  if not runs:
    return f'{path} is left out: it is a sweep in which no run has begun.'
  kind = _kind(runs[0])
  if kind == _kind(first):
    return ''
  why = f'{first.name} is a {_kind(first)}, and a {kind} cannot be compared with it'
  return f'{path} is left out: {why}.'


def _kind(run: Run) -> str:
  return 'training job' if run.workdir.is_job else 'pipeline'


def _grouped(runs: Sequence[Run]) -> list[Group]:
  grouped: dict[tuple[str, int], list[Run]] = {}
  seen: collections.Counter[tuple[str, int]] = collections.Counter()
  for run in runs:
    config = json.dumps(run.config, sort_keys=True)
    again = seen[config, run.seed]  # a repeated run, for example with another revision
    seen[config, run.seed] += 1
    grouped.setdefault((config, again), []).append(run)
  names = [run.name for run in runs]
  return [Group(_common_name(of_one, names), of_one) for of_one in grouped.values()]


def _inside(path: pathlib.Path) -> Iterator[Run]:
  one = workdir.load(path)
  if not one.is_sweep:
    yield _run(path.as_posix(), one)
    return
  for row, seeds in one.seeds.items():
    for inner in seeds.values():
      yield _run(f'{path.as_posix()}/{row}/{inner.name}', workdir.load(inner))


def _run(name: str, one: Workdir) -> Run:
  config = {key: value for key, value in one.config.items() if key not in OUTSIDE}
  return Run(name, one, config, job.records_of(one) if one.is_job else _evaluated(one))


def _evaluated(one: Workdir) -> pd.DataFrame:
  if one.results is None or not (one / records.FILE).is_file():
    return records.gather({})
  found = records.read(one / records.FILE, of_run.AGAIN)
  own, *_ = results.learned(results.frame(one.results))
  return found[found['hand_designed'] | (found['optimizer'] == own)].assign(row='')


def _common_name(runs: Sequence[Run], names: Sequence[str]) -> str:
  """The folder of the runs if it holds no other of these names."""
  if len(runs) == 1:
    return runs[0].name
  parent = runs[0].name.rpartition('/')[0]
  inside = {name for name in names if name.startswith(f'{parent}/')}
  return parent if parent and inside == {run.name for run in runs} else f'{runs[0].name} …'


def labels(groups: Sequence[Group]) -> dict[str, str]:
  """Name of a group -> its short name in figures, without common folders.

  Example:
    >>> labels([Group('runs/x/adam', []), Group('runs/y', [])])
    {'runs/x/adam': 'x/adam', 'runs/y': 'y'}
  """
  parts = {group.name: group.name.split('/') for group in groups}
  levels = zip(*(folders for *folders, _ in parts.values()), strict=False)
  common = len(list(itertools.takewhile(lambda level: len(set(level)) == 1, levels)))
  return {name: '/'.join(of_one[common:]) for name, of_one in parts.items()}


def differing(groups: Sequence[Group]) -> dict[str, list[str]]:
  """Config keys in which groups differ -> the value of each, as JSON.

  A block that some groups lack counts as one key.
  """
  return dict(_differing([group.runs[0].config for group in groups], ''))


def _differing(values: Sequence[Any], key: str) -> Iterator[tuple[str, list[str]]]:
  if all(isinstance(value, Mapping) for value in values):
    for inner in dict.fromkeys(name for value in values for name in value):
      path = f'{key}.{inner}' if key else inner
      yield from _differing([value.get(inner, ABSENT) for value in values], path)
  elif any(value != values[0] for value in values):
    yield key, [value if value is ABSENT else json.dumps(value) for value in values]


def apart(first: Group, other: Group) -> str:
  """Why the tasks of two groups are not the same, as a sentence; '' if they are."""
  of_job = first.runs[0].workdir.is_job
  keys = [key for key in differing([first, other]) if _of_tasks(key, of_job)]
  if not of_job and _drawn_steps(first) != _drawn_steps(other):
    keys.append('meta_evaluate.draw_steps (if 0, the longest of num_steps)')
  if keys:
    return (
      f'{other.name} cannot be compared with {first.name}: they differ in {", ".join(keys)}, so '
      'their tasks are not the same.'
    )
  if not of_job and not _seeds(first) & _seeds(other):
    return f'{other.name} cannot be compared with {first.name}: they have no seed in common.'
  return ''


def _seeds(group: Group) -> set[int]:
  return {run.seed for run in group.runs}


def _drawn_steps(group: Group) -> int:
  spec = group.runs[0].config['meta_evaluate']
  return spec.get('draw_steps') or max(spec['num_steps'])


def _of_tasks(key: str, of_job: bool) -> bool:
  block, *_ = key.split('.')
  if of_job:
    return block in ('batch_source', 'task')
  return block in ('class_split', 'sources', 'episodes', 'task') or key.startswith(TASKS)

"""The runs of a sweep: each row's changes to the base, for each seed, in separate folders."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from configs import common
from l2o.errors import InputError
from reports import sweep as report
from trainers.checks import blocks
from trainers.harness.folder import (
  CONFIG,
  DIFF,
  FIGURES,
  HUB_WEIGHTS,
  OVERRIDES,
  PAGE,
  RESULTS,
  TABLE,
  VERSIONS,
  Folder,
)

TAKEN = (CONFIG, DIFF, FIGURES, HUB_WEIGHTS, OVERRIDES, PAGE, RESULTS, TABLE, VERSIONS)
WHOLE = ('cpu_devices', 'first', 'sweep', 'sweep_seeds')  # keys that no row can set


class Run(NamedTuple):
  """A row with one seed."""

  folder: Folder
  seed: int
  config: Mapping[str, Any]  # frozen
  cause: Folder | None  # folder of the run whose model it starts from


class Planned(NamedTuple):
  """A row and its runs, one per seed. Rows that resolve to the same run share a folder."""

  row: blocks.SweepRow
  name: str  # of the folder that holds its seeds
  runs: Sequence[Run]


class Plan(NamedTuple):
  """A planned sweep."""

  base: Mapping[str, Any]  # the frozen config without its rows
  typed: blocks.PipelineConfig | blocks.JobConfig  # the same, with its rows
  first: Sequence[Run]  # runs that the others start from, one per seed
  rows: Sequence[Planned]

  @property
  def runs(self) -> list[Run]:
    """All distinct runs; those that others start from come first."""
    rows = (run for planned in self.rows for run in planned.runs)
    return list({run.folder: run for run in (*self.first, *rows)}.values())


def build(config: Mapping[str, Any], folder: Folder) -> Plan:
  """Plans a sweep.

  Args:
    config: a frozen config with rows in `sweep`.
    folder: the sweep's folder.

  Raises:
    InputError: a key is not in the base, two rows share a name, or different rows would share a
      folder.
  """
  typed = blocks.typed(config)
  _check(typed)
  base = common.with_diff(config, {'sweep': [], 'sweep_seeds': [0], 'first': []})
  before = [run for row in typed.first for run in _planned(base, typed, folder, row, {}).runs]
  first = {run.seed: run.folder for run in before}
  plan = Plan(base, typed, before, [_planned(base, typed, folder, r, first) for r in typed.sweep])
  _check_folders(plan)
  return plan


def chosen(plan: Plan, which: str) -> list[Run]:
  """The run with this number, counted from 1, or name, preceded by the run it starts from.

  Args:
    plan: of the sweep.
    which: the number, or the name that `--sweep_row=list` prints, such as 'adamw 0.01/seed_0'.

  Raises:
    InputError: no such run.
  """
  names = {named(run): run for run in plan.runs}
  names |= {str(number): run for number, run in enumerate(plan.runs, start=1)}
  if which not in names:
    raise InputError(
      f'--sweep_row must be a number from 1 to {len(plan.runs)} or a name, as --sweep_row=list '
      f'prints them, not {which!r}'
    )
  run = names[which]
  return [*(other for other in plan.first if other.folder == run.cause), run]


def named(run: Run) -> str:
  """The name of a run in its sweep: its row's folder and its seed's."""
  return '/'.join(run.folder.path.parts[-2:])


def _planned(
  base: Mapping[str, Any],
  typed: blocks.Run,
  folder: Folder,
  row: blocks.SweepRow,
  first: Mapping[int, Folder],
) -> Planned:
  runs = []
  changes = common.diff(base, common.with_diff(base, row.diff))
  name = row.table if _are_jobs(typed) else report.name(changes)
  for seed in typed.sweep_seeds:
    where = folder.sub(name).sub(f'seed_{seed}')
    # Relative, so that the folder can be moved.
    start = {'start': os.path.relpath(first[seed].path, where.path)} if first else {}
    changed = common.with_diff(base, {**start, **row.diff, 'seed': seed})
    runs.append(Run(where, seed, changed, first.get(seed)))
  return Planned(row, name, runs)


def _are_jobs(typed: blocks.Run) -> bool:
  return isinstance(typed, blocks.JobConfig)


def _check(typed: blocks.Run) -> None:
  seeds, rows = typed.sweep_seeds, [*typed.first, *typed.sweep]
  if not seeds or len(set(seeds)) < len(seeds):
    raise InputError(f'sweep_seeds must be different whole numbers, at least one, not {seeds}')
  if len(typed.first) > 1 or (typed.first and not _are_jobs(typed)):
    raise InputError(
      'first can hold one row at most, and only in a sweep of training jobs; remove the others, or '
      'all of first'
    )
  for row in rows:
    if 'seed' in row.diff:
      raise InputError(f'the row {row.table!r} sets seed; list the seeds in sweep_seeds instead')
    if taken := sorted({*WHOLE} & set(row.diff)):
      raise InputError(
        f'the row {row.table!r} cannot set {taken[0]}, which applies to the whole sweep; set it in '
        f'the config itself'
      )
    if row.paper is not None and isinstance(row.paper, Mapping) != _are_jobs(typed):
      wanted = 'a block of measures and values' if _are_jobs(typed) else 'one accuracy in %'
      raise InputError(f'paper of the row {row.table!r} must be {wanted}, not {row.paper!r}')
  if _are_jobs(typed):
    names = [row.table for row in rows]
    blocks.check_names(names, 'a row of the sweep')
    if double := next((name for name in names if names.count(name) > 1), None):
      raise InputError(f'two rows of the sweep, first included, are called {double!r}; rename one')
    if taken := sorted({*TAKEN} & set(names)):
      raise InputError(
        f'a row of the sweep cannot be called {taken[0]!r}, the name of a file that the sweep '
        f'writes; rename it'
      )


def _check_folders(plan: Plan) -> None:
  configs: dict[Folder, Mapping[str, Any]] = {}
  for planned in plan.rows:
    for run in planned.runs:
      if configs.setdefault(run.folder, run.config) != run.config:
        raise InputError(
          f'two different rows of the sweep would share the folder {planned.name}; make their '
          f'values differ in letters or digits'
        )
  blocks.check_names(dict.fromkeys(planned.name for planned in plan.rows), 'a row of the sweep')

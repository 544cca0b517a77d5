"""A sweep: every row's difference to the base as a run of its own, and one table at the end."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from configs import common
from l2o.build import build
from l2o.errors import InputError, RunError
from l2o.rules import RULES
from reports import pictures, training
from reports import sweep as report
from reports.results import read_lines
from trainers import interrupt, job, sharding
from trainers import workdir as files

Runner = Callable[..., None]
Failed = Mapping[pathlib.Path, str]  # the run's folder -> why


def run(config: Mapping[str, Any], folder: pathlib.Path, runner: Runner) -> None:
  """Runs what is not done yet, row by row, and writes results.json, table.txt and a figure.

  A row that cannot go on (no finite loss) is reported as failed, and the others are run.

  Args:
    config: a frozen config with rows in `sweep`.
    folder: of the sweep; each different run has a folder in it, by its difference and seed.
    runner: `trainers.run.run`.

  Raises:
    InputError: a key that the base does not have, a rule that cannot be built, or a `first` that is
      not one row of a sweep of training jobs, before any is run; anything else in a row's config
      when its turn comes.
  """
  base = common.with_diff(config, {'sweep': [], 'sweep_seeds': [0], 'first': []})
  sharding.set_cpu_devices(config['cpu_devices'])  # before the rules below compute anything
  plans = _first(config, folder, base)
  before = {changed['seed']: where for where, changed in plans.items()}
  for row in config['sweep']:
    for seed in config['sweep_seeds']:
      where = _folder(folder, base, row, seed)
      # Relative, so that the folder may be moved.
      start = {'start': os.path.relpath(before[seed], where)} if before else {}
      changed = common.with_diff(base, {**start, **row['diff'], 'seed': seed})
      build(RULES, changed['rule'], 'rule')
      plans[where] = changed
  failed: dict[pathlib.Path, str] = {}
  for number, (where, changed) in enumerate(plans.items(), start=1):
    print(f'[sweep] run {number}/{len(plans)}: {where.relative_to(folder)}', flush=True)
    if (cause := before.get(changed['seed'])) in failed:
      failed[where] = f'it starts from {cause.name}, which failed: {failed[cause]}'
      continue
    try:
      runner(changed, where, default=base, overrides={})
    except interrupt.TerminatedError:
      raise
    except RunError as error:
      print(f'[sweep] failed: {error}', flush=True)
      failed[where] = str(error)
  compare = _compare_jobs if 'train' in config else _compare_meta_trained
  compare(config, folder, base, failed)


def _first(
  config: Mapping[str, Any], folder: pathlib.Path, base: Mapping[str, Any]
) -> dict[pathlib.Path, dict[str, Any]]:
  """The jobs that run before the rows, one a seed; none if the config names no `first`."""
  if not config['first']:
    return {}
  if len(config['first']) > 1 or 'train' not in config:
    raise InputError('first takes one row, and only in a sweep of training jobs')
  (row,) = config['first']
  if row['table'] in [other['table'] for other in config['sweep']]:
    raise InputError(f'first and a row of the sweep are both called {row["table"]!r}; rename one')
  return {
    _folder(folder, base, row, seed): common.with_diff(base, {**row['diff'], 'seed': seed})
    for seed in config['sweep_seeds']
  }


def _compare_meta_trained(
  config: Mapping[str, Any], folder: pathlib.Path, base: Mapping[str, Any], failed: Failed
) -> None:
  rows = [_row(row, config['sweep_seeds'], folder, base, failed) for row in config['sweep']]
  settings = config['meta_evaluate']['bootstrap_samples'], config['seed']
  results = report.summarize(rows, *settings)
  print(report.write(results, folder))
  files.write_json(folder / files.RESULTS, results)


def _compare_jobs(
  config: Mapping[str, Any], folder: pathlib.Path, base: Mapping[str, Any], failed: Failed
) -> None:
  rows, shown = [], {}
  for row in config['sweep']:
    places = [_folder(folder, base, row, seed) for seed in config['sweep_seeds']]
    ended = [p for p in places if p not in failed]
    seen = [read_lines(p / 'train' / 'metrics.jsonl') for p in ended]
    results = [files.read_json(p / files.RESULTS) for p in ended]
    reasons = [failed[p] for p in places if p in failed]
    rows.append(training.Runs(row['table'], seen, results, reasons))
    shown[row['table']] = next((p / job.PICTURE for p in ended if (p / job.PICTURE).exists()), None)
  _draw(shown, folder)
  print(training.write(rows, folder))
  files.write_json(folder / files.RESULTS, training.summarize(rows))


def _draw(shown: Mapping[str, pathlib.Path | None], folder: pathlib.Path) -> None:
  """What each row's first seed that ended made of a picture, where it made one."""
  found = {}
  for label, path in shown.items():
    if path is not None:
      with np.load(path) as arrays:
        found[label] = pictures.Picture(arrays['target'], arrays['output'])
  if found:
    (folder / 'figures').mkdir(exist_ok=True)
    pictures.compared(found).savefig(folder / 'figures' / 'pictures.png', dpi=120)


def _folder(
  folder: pathlib.Path, base: Mapping[str, Any], row: Mapping[str, Any], seed: int
) -> pathlib.Path:
  """Of a row's run; those of meta-training that come to the same run share it."""
  if 'train' in base:
    return folder / row['table'] / f'seed_{seed}'
  changes = common.diff(base, common.with_diff(base, row['diff']))
  return folder / report.name(changes) / f'seed_{seed}'


def _row(
  row: Mapping[str, Any],
  seeds: list[int],
  folder: pathlib.Path,
  base: Mapping[str, Any],
  failed: Failed,
) -> report.Row:
  """What a row's runs measured: the learned optimizer's accuracy at the longest horizon."""
  steps = max(base['meta_evaluate']['num_steps'])
  experiment = min(base['meta_evaluate']['experiments'])
  measured = []
  for seed in seeds:
    changed = common.with_diff(base, {**row['diff'], 'seed': seed})
    where = _folder(folder, base, row, seed)
    if where in failed:
      continue
    path = where / 'meta_evaluate' / 'outcomes.npz'
    if not path.exists():
      raise InputError(f'{path} is missing; delete {where} to run that row again')
    with np.load(path) as outcomes:
      measured.append(outcomes[f'{experiment}/{changed["rule"]["name"]}/{steps}/accuracy'])
  changes = common.diff(base, common.with_diff(base, row['diff']))
  return report.Row(row['table'], report.name(changes), row['paper'], measured)

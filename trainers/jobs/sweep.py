"""A sweep: every row's difference to the base as a run of its own, and one table at the end."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from configs import common
from l2o.errors import InputError, RunError
from reports import pictures, records, training
from reports import sweep as report
from trainers.checks import blocks
from trainers.checks.schema import parse
from trainers.harness import signals
from trainers.harness import workdir as files
from trainers.harness.folder import (
  CONFIG,
  DIFF,
  FIGURES,
  HUB_WEIGHTS,
  OVERRIDES,
  PICTURE,
  RECORDS,
  RESULTS,
  TABLE,
  VERSIONS,
  Folder,
)
from trainers.resources import meshes
from trainers.stages import meta_evaluation

Runner = Callable[..., None]
Builder = Callable[[Mapping[str, Any], Folder], Any]
Plans = dict[Folder, dict[str, Any]]  # the run's folder -> its config
Failed = Mapping[Folder, str]  # the run's folder -> why
GROWS = ('sweep', 'sweep_seeds')  # keys that may change in a sweep that is continued
TAKEN = (CONFIG, DIFF, FIGURES, OVERRIDES, RESULTS, TABLE, VERSIONS, HUB_WEIGHTS)


def run(
  config: Mapping[str, Any],
  folder: Folder,
  runner: Runner,
  build: Builder,
  default: Mapping[str, Any],
  overrides: Mapping[str, Any],
) -> None:
  """Runs what is not done yet, row by row, and writes results.json, table.txt and a figure.

  A row that ends without a finite loss is reported as failed, and the others are run.

  Args:
    config: a frozen config with rows in `sweep`.
    folder: of the sweep; each different run has a folder in it, by its difference and seed.
    runner: runs one config in one folder, `trainers.run.run_one`.
    build: builds one config without running it; every row passes it before the first is run.
    default: the config file's own values, to write down what differs.
    overrides: what the command line set.

  Raises:
    InputError: before any row is run: a row that cannot be built, two rows of one name, an override
      that every row replaces, a folder that holds something else.
    RunError: every row failed.
  """
  rows = _rows(config)
  _refuse_replaced(overrides, rows)
  _refuse_other_sweep(config, folder)
  meshes.set_cpu_devices(config['cpu_devices'])  # before the rules below compute anything
  base, before = _base(config), _first(config, folder)
  plans = plan(config, folder)
  _try(plans, before, config['sweep_seeds'][0], build)
  with files.lock(folder):
    files.describe(folder, config, default, overrides)
    failed = _run(plans, before, folder, partial(runner, default=base, overrides={}))
    compare = _compare_jobs if 'train' in config else _compare_meta_trained
    compare(config, folder, base, failed)
  if len(failed) == len(plans):
    raise RunError(
      f'every run of the sweep failed, the first one so: {next(iter(failed.values()))}'
    )


def _run(plans: Plans, before: Plans, folder: Folder, runner: Runner) -> dict[Folder, str]:
  first = {changed['seed']: where for where, changed in before.items()}
  failed: dict[Folder, str] = {}
  for number, (where, changed) in enumerate(plans.items(), start=1):
    print(f'[sweep] run {number}/{len(plans)}: {where.path.relative_to(folder.path)}', flush=True)
    if (cause := first.get(changed['seed'])) in failed:
      failed[where] = f'it starts from {cause.name}, which failed: {failed[cause]}'
      continue
    try:
      runner(changed, where)
    except signals.TerminatedError:
      raise
    except RunError as error:
      print(f'[sweep] failed: {error}', flush=True)
      failed[where] = str(error)
  return failed


def _rows(config: Mapping[str, Any]) -> list[blocks.SweepRow]:
  """The rows of `sweep` and `first`, checked."""
  seeds = config['sweep_seeds']
  if not seeds or len(set(seeds)) < len(seeds):
    raise InputError(f'sweep_seeds must be different whole numbers, at least one, not {seeds}')
  if len(config['first']) > 1 or (config['first'] and 'train' not in config):
    raise InputError('first takes one row, and only in a sweep of training jobs')
  rows = [
    parse(blocks.SweepRow, row, f'{key}[{number}]')
    for key in ('first', 'sweep')
    for number, row in enumerate(config[key])
  ]
  for row in rows:
    if 'seed' in row.diff:
      raise InputError(f'the row {row.table!r} sets seed; list the seeds in sweep_seeds instead')
    if taken := sorted({'sweep', 'sweep_seeds', 'first', 'cpu_devices'} & set(row.diff)):
      raise InputError(f'the row {row.table!r} cannot set {taken[0]}, which is of the whole sweep')
  if 'train' in config:
    names = [row.table for row in rows]
    blocks.check_names(names, 'a row of the sweep')
    if double := next((name for name in names if names.count(name) > 1), None):
      raise InputError(f'two rows of the sweep, first included, are called {double!r}; rename one')
    if taken := sorted(set(TAKEN) & set(names)):
      raise InputError(f'a row of the sweep cannot be called {taken[0]!r}: the sweep writes there')
  return rows


def _refuse_replaced(overrides: Mapping[str, Any], rows: Sequence[blocks.SweepRow]) -> None:
  """An override that no row keeps would be ignored."""
  for key in overrides:
    if key == 'seed':
      raise InputError('--config.seed has no effect in a sweep: set --config.sweep_seeds')
    if all(any(f'{key}.'.startswith(f'{changed}.') for changed in row.diff) for row in rows):
      listed = ', '.join(dict.fromkeys(row.table for row in rows))
      raise InputError(
        f'--config.{key} has no effect: every row of the sweep replaces it ({listed}); '
        f'change the rows in the config file'
      )


def _refuse_other_sweep(config: Mapping[str, Any], folder: Folder) -> None:
  held = files.held_config(folder)
  if held is None:
    return
  if not held.get('sweep'):
    raise InputError(f'workdir {folder} holds a single run, not a sweep; use another --workdir')
  lasting = [{k: v for k, v in c.items() if k not in GROWS} for c in (held, config)]
  files.refuse_other(folder, *lasting)


def plan(config: Mapping[str, Any], folder: Folder) -> Plans:
  """Every run of a sweep by its folder, those that others start from first.

  Raises:
    InputError: a key that the base does not have, or rows that would share a folder.
  """
  base, plans = _base(config), _first(config, folder)
  first = {changed['seed']: where for where, changed in plans.items()}
  for row in config['sweep']:
    for seed in config['sweep_seeds']:
      where = _folder(folder, base, row, seed)
      # Relative, so that the folder may be moved.
      start = {'start': os.path.relpath(first[seed].path, where.path)} if first else {}
      changed = common.with_diff(base, {**start, **row['diff'], 'seed': seed})
      if plans.setdefault(where, changed) != changed:
        raise InputError(f'two different rows of the sweep would share the folder {where.name}')
  blocks.check_names(dict.fromkeys(where.path.parent.name for where in plans), 'a row of the sweep')
  return plans


def _base(config: Mapping[str, Any]) -> dict[str, Any]:
  """The config of the sweep without its rows."""
  return common.with_diff(config, {'sweep': [], 'sweep_seeds': [0], 'first': []})


def _try(plans: Plans, before: Plans, seed: int, build: Builder) -> None:
  """Builds every run of one seed that is not done, so that what is wrong shows before the first."""
  for where, changed in plans.items():
    blocks.typed(changed)
    done = files.is_finished(where, changed)
    if changed['seed'] == seed and not done:
      # What a first job leaves is not there yet.
      build({**changed, 'start': ''} if before else changed, where)


def _first(config: Mapping[str, Any], folder: Folder) -> Plans:
  """The jobs that run before the rows, one a seed; none if the config names no `first`."""
  base = _base(config)
  return {
    _folder(folder, base, row, seed): common.with_diff(base, {**row['diff'], 'seed': seed})
    for row in config['first']
    for seed in config['sweep_seeds']
  }


def _compare_meta_trained(
  config: Mapping[str, Any], folder: Folder, base: Mapping[str, Any], failed: Failed
) -> None:
  rows, tables = [], {}
  for row in config['sweep']:
    changes = common.diff(base, common.with_diff(base, row['diff']))
    rows.append(report.Row(row['table'], report.name(changes), row['paper']))
    places = _places(config, folder, base, row)
    tables[rows[-1].diff] = [
      _measured(where, base, common.with_diff(base, row['diff']))
      for where in places
      if where not in failed
    ]
  settings = config['meta_evaluate']['bootstrap_samples'], config['seed']
  results = report.summarize(rows, records.gather(tables), *settings)
  _publish(folder, *report.make(results))
  folder.write_json(RESULTS, results)


def _measured(where: Folder, base: Mapping[str, Any], changed: Mapping[str, Any]) -> pd.DataFrame:
  """A run's accuracies of its learned optimizer, at the base's longest horizon."""
  table = _records(where)
  return table[
    (table['experiment'] == min(base['meta_evaluate']['experiments']))
    & (table['optimizer'] == _label(changed))
    & (table['K'] == max(base['meta_evaluate']['num_steps']))
    & (table['measure'] == 'accuracy')
  ]


def _label(config: Mapping[str, Any]) -> str:
  return meta_evaluation.label(config['rule'], config['meta_evaluate']['baselines'])


def _records(where: Folder) -> pd.DataFrame:
  again = f'delete {where / RESULTS} and give the same command again'
  return records.read(where / RECORDS, again)


def _compare_jobs(
  config: Mapping[str, Any], folder: Folder, base: Mapping[str, Any], failed: Failed
) -> None:
  rows, tables, shown = [], {}, {}
  for row in config['sweep']:
    places = _places(config, folder, base, row)
    ended = [p for p in places if p not in failed]
    rows.append(training.Row(row['table'], [failed[p] for p in places if p in failed]))
    tables[row['table']] = [_records(p) for p in ended]
    drawn = [p / PICTURE for p in ended if (p / PICTURE).exists()]
    shown[row['table']] = next(iter(drawn), None)
  table = records.gather(tables)
  _draw(shown, folder)
  text, figures, weights = training.make(rows, table)
  _publish(folder, text, figures)
  if weights:
    folder.write_text(HUB_WEIGHTS, weights)
  folder.write_json(RESULTS, training.summarize(rows, table))


def _draw(shown: Mapping[str, pathlib.Path | None], folder: Folder) -> None:
  """What each row's first seed that ended made of a picture, where it made one."""
  found = {}
  for label, path in shown.items():
    if path is not None:
      with np.load(path) as arrays:
        found[label] = pictures.Picture(arrays['target'], arrays['output'])
  if found:
    folder.write_figures({'pictures': pictures.compared(found)})


def _folder(folder: Folder, base: Mapping[str, Any], row: Mapping[str, Any], seed: int) -> Folder:
  """Of a row's run; those of meta-training that come to the same run share it."""
  if 'train' in base:
    return folder.sub(row['table']).sub(f'seed_{seed}')
  changes = common.diff(base, common.with_diff(base, row['diff']))
  return folder.sub(report.name(changes)).sub(f'seed_{seed}')


def _places(
  config: Mapping[str, Any], folder: Folder, base: Mapping[str, Any], row: Mapping[str, Any]
) -> list[Folder]:
  """The folders of a row's runs, one a seed."""
  return [_folder(folder, base, row, seed) for seed in config['sweep_seeds']]


def _publish(folder: Folder, text: str, figures: Mapping[str, Figure]) -> None:
  print(text)
  folder.write_text(TABLE, text)
  folder.write_figures(figures)

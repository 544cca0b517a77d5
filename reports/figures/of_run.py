"""All figures of a run or of a file of records, drawn from what was measured."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from l2o.errors import InputError
from l2o.registry import choose
from reports import pictures, records, report, results, sweep, training, workdir
from reports.workdir import Workdir

SAMPLES = 10_000  # of the bootstrap, for records without their config
AGAIN = 'give the command of its run again'


def of_run(run: Workdir) -> dict[str, Figure]:
  """Name -> figure of a finished run.

  Raises:
    InputError: the run is not finished, or its records are missing or damaged.
  """
  if run.results is None:
    raise InputError(f'{run.path} is not finished; `python -m reports.page` shows how far it is')
  if run.is_sweep:
    return of_jobs(run) if run.is_job else sweep.make(run.results)[1]
  return of_job(run) if run.is_job else report.make(rows_of(run), run.path)[1]


def only(run: Workdir, rows: Sequence[str]) -> Workdir:
  """A sweep of training jobs as if it had only these rows, in this order.

  Args:
    run: the sweep.
    rows: their names.

  Raises:
    InputError: the run is no such sweep, or has no row of that name.
  """
  if not (run.is_sweep and run.is_job):
    raise InputError(f'{run.path} has no rows to choose: --row is for sweeps of training jobs')
  known = {row['table']: row for row in run.config['sweep']}
  chosen = [known[choose(row, known, f'row of {run.path}')] for row in dict.fromkeys(rows)]
  return run._replace(config={**run.config, 'sweep': chosen})


def rows_of(run: Workdir) -> results.Results:
  """The rows of a finished pipeline, with the intervals that an older results.json lacks."""
  known = any('accuracy_low' in row for row in run.results)
  if known or not (run / records.FILE).is_file():
    return run.results
  table = records.read(run / records.FILE, AGAIN)
  samples = run.config['meta_evaluate']['bootstrap_samples']
  return results.with_intervals(run.results, table, samples, run.config['seed'])


def of_job(run: Workdir) -> dict[str, Figure]:
  """The figures of one training job."""
  name = optimizer_of(run.config)
  table = records.gather({name: [records.read(run / records.FILE, AGAIN)]})
  return training.make([training.Row(name)], table)[1] | pictures_of({name: run.path})


def optimizer_of(config: Mapping[str, Any]) -> str:
  """The name of a training job's optimizer.

  Example:
    >>> optimizer_of({'rule': {'name': 'hand_designed', 'optimizer': 'adam'}})
    'adam'
    >>> optimizer_of({'rule': {'name': 'artifact', 'path': 'runs/x/optimizer.safetensors'}})
    'optimizer'
  """
  rule = config['rule']
  if rule['name'] == 'artifact':
    return pathlib.Path(rule['path']).stem
  return rule['optimizer'] if rule['name'] == 'hand_designed' else rule['name']


def of_jobs(run: Workdir) -> dict[str, Figure]:
  """The figures of a sweep of training jobs, from the jobs that have ended."""
  rows = [training.Row(row['table']) for row in run.config['sweep']]
  drawn = training.make(rows, jobs_records(run))[1]
  first = {row: next(iter(seeds.values())) for row, seeds in run.seeds.items()}
  return drawn | pictures_of({row.label: first[row.label] for row in rows if row.label in first})


def jobs_records(run: Workdir) -> pd.DataFrame:
  """The records of a sweep's ended jobs, with a column 'row'."""
  tables: Mapping[str, list[Any]] = {row['table']: [] for row in run.config['sweep']}
  for row, seeds in run.seeds.items():
    ended = [path for path in seeds.values() if (path / workdir.RESULTS).is_file()]
    if row in tables:  # not the job that the others start from
      tables[row] += [records.read(path / records.FILE, AGAIN) for path in ended]
  return records.gather(tables)


def of_records(path: pathlib.Path) -> dict[str, Figure]:
  """The figures that can be drawn from a file of records.

  Raises:
    InputError: the file is missing or damaged.
  """
  table = records.read(path, 'give a file of records')
  drawn = {}
  for seed, of_seed in table.groupby('seed'):
    rows = results.frame(results.summarize(of_seed, SAMPLES, seed))
    suffix = f'_seed{seed}' if table['seed'].nunique() > 1 else ''
    drawn |= {f'{name}{suffix}': figure for name, figure in report.compared(rows).items()}
  return drawn


def pictures_of(folders: Mapping[str, pathlib.Path]) -> dict[str, Figure]:
  """The figure of the reconstructions of all runs that made one. `folders`: name -> folder."""
  found = {}
  for name, folder in folders.items():
    if (folder / workdir.PICTURE).is_file():
      with np.load(folder / workdir.PICTURE) as arrays:
        found[name] = pictures.Picture(arrays['target'], arrays['output'])
  return {'pictures': pictures.compared(found)} if found else {}

"""A sweep: each row is a separate run with its changes to the base, then one table for all."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from l2o.errors import InputError, RunError
from reports import pictures, records, training
from reports import sweep as report
from trainers.checks import blocks
from trainers.harness import loop, signals, weights
from trainers.harness import workdir as files
from trainers.harness.folder import HUB_WEIGHTS, PICTURE, RECORDS, RESULTS, TABLE, Folder
from trainers.jobs import shown, sweep_plan
from trainers.processes import agreement
from trainers.resources import given_weights, meshes
from trainers.stages.rows import label

Runner = Callable[..., None]
Builder = Callable[[Mapping[str, Any], Folder], Any]
Failed = Mapping[Folder, str]  # the run's folder -> reason
WAIT_SECS = 60.0  # for another process to write the sweep's files
POLL_SECS = 2.0  # between checks on runs that other processes hold
GROWS = ('sweep', 'sweep_seeds')  # keys that may change when a sweep is resumed


def run(
  config: Mapping[str, Any],
  folder: Folder,
  runner: Runner,
  build: Builder,
  default: Mapping[str, Any],
  overrides: Mapping[str, Any],
  only: str = '',
) -> None:
  """Runs the unfinished rows in order, and writes results.json, table.txt and a figure.

  A row that ends without a finite loss is reported as failed, and the others still run. Several
  processes may work on one sweep at the same time, on machines that share the folder: each run has
  a lock, runs locked by another process are skipped, and the tables are made once all are done.

  Args:
    config: a frozen config with rows in `sweep`.
    folder: the sweep's folder; each distinct run has its own inside, named by changes and seed.
    runner: runs one config in one folder, `trainers.run.run_one`.
    build: builds one config without running it; every row is built before the first one runs.
    default: the config file's own values, to record the differences.
    overrides: values set on the command line.
    only: the number or name of the only run to do, without a table; 'list' to print all of them.

  Raises:
    InputError: before any row runs: a row cannot be built, two rows share a name, an override is
      replaced by every row, the folder holds something else, or no run has that number or name.
    RunError: every row failed, or the requested one did.
  """
  plan = sweep_plan.build(config, folder)
  _refuse_replaced(overrides, [*plan.typed.first, *plan.typed.sweep])
  agreement.decided(lambda: _refuse_other_sweep(config, folder))
  if only == 'list':
    print(agreement.decided(lambda: listed(plan)))
    return
  runs = sweep_plan.chosen(plan, only) if only else plan.runs
  meshes.set_cpu_devices(plan.typed.cpu_devices)  # before the rules below compute anything
  if not only:
    agreement.together(lambda: _try(plan, build))
  with files.lock(folder, WAIT_SECS):
    agreement.decided(lambda: files.describe(folder, config, default, overrides))
  failed = _run(runs, folder, partial(runner, default=plan.base, overrides={}))
  if not only:
    with files.lock(folder, WAIT_SECS):
      agreement.decided(lambda: _compare(plan, folder, failed))
  if only and failed:
    raise RunError(list(failed.values())[-1])  # its own error; the run it starts from comes first
  if len(failed) == len(runs):
    raise RunError(
      f'every run of the sweep failed, the first one so: {next(iter(failed.values()))}'
    )


def listed(plan: sweep_plan.Plan) -> str:
  """Lists the runs of a sweep with their numbers, marking the finished ones."""
  lines = []
  for number, run in enumerate(plan.runs, start=1):
    done = 'done' if files.is_finished(run.folder, run.config) else 'open'
    lines.append(f'{number:>4}  {done}  {sweep_plan.named(run)}')
  return '\n'.join(lines)


def _run(runs: Sequence[sweep_plan.Run], folder: Folder, runner: Runner) -> dict[Folder, str]:
  """Does the runs in order, then retries those that another process held."""
  failed: dict[Folder, str] = {}
  waiting, told, begun = list(runs), False, time.monotonic()
  to_do = [run.folder for run in runs if not files.is_finished(run.folder, run.config)]
  while waiting:
    held: list[sweep_plan.Run] = []
    for run in waiting:
      if any(run.cause == other.folder for other in held):
        held.append(run)
      elif run.cause in failed:
        failed[run.folder] = f'it starts from {run.cause.name}, which failed: {failed[run.cause]}'
      else:
        number = f'{runs.index(run) + 1}/{len(runs)}{_time_left(run, to_do, begun)}'
        if not _done(run, number, folder, runner, failed):
          held.append(run)
    if held and len(held) == len(waiting):
      if not told:
        print(f'[sweep] waiting for {len(held)} runs that other processes are doing', flush=True)
      told = True
      time.sleep(POLL_SECS)
    waiting = held
  return failed


def _time_left(run: sweep_plan.Run, to_do: Sequence[Folder], begun: float) -> str:
  """The time left for this run and the rest; '' while that is unknown."""
  done = to_do.index(run.folder) if run.folder in to_do else 0
  if not done:
    return ''
  took = time.monotonic() - begun
  return f', about {loop.duration(took / done * (len(to_do) - done))} left'


def _done(
  run: sweep_plan.Run, number: str, folder: Folder, runner: Runner, failed: dict[Folder, str]
) -> bool:
  """Does a run, recording a failure in `failed`; False if another process holds it."""
  if files.is_in_use(run.folder):  # before its data are loaded
    return False
  try:
    print(f'[sweep] run {number}: {run.folder.path.relative_to(folder.path)}', flush=True)
    runner(run.config, run.folder)
  except files.InUseError:
    return False
  except signals.TerminatedError:
    raise
  except RunError as error:
    print(f'[sweep] failed: {error}', flush=True)
    failed[run.folder] = str(error)
  return True


def _refuse_replaced(overrides: Mapping[str, Any], rows: Sequence[blocks.SweepRow]) -> None:
  """Raises InputError for an override that every row replaces, since it would have no effect."""
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


def _try(plan: sweep_plan.Plan, build: Builder) -> None:
  """Builds every unfinished run of one seed, so that errors surface before the first one runs."""
  for run in plan.runs:
    blocks.typed(run.config)
    done = agreement.decided(partial(files.is_finished, run.folder, run.config))
    if not done:
      agreement.decided(partial(weights.refuse_others, run.folder, run.config))
    if run.seed == plan.typed.sweep_seeds[0] and not done:
      build(_buildable(plan, run), run.folder)


def _buildable(plan: sweep_plan.Plan, run: sweep_plan.Run) -> Mapping[str, Any]:
  """A run's config; while the first job has no model, it starts where that job starts."""
  start = run.config['start'] if plan.first else ''
  if not start or weights.is_file(start):
    return run.config
  before = plan.first[0].config
  if plan.first[0].folder != run.cause or not weights.is_file(before['start']):
    return {**run.config, 'start': ''}
  task = given_weights.inherited(before['task'], run.config['task'])
  return {**run.config, 'start': before['start'], 'task': task}


def _compare(plan: sweep_plan.Plan, folder: Folder, failed: Failed) -> None:
  if isinstance(plan.typed, blocks.JobConfig):
    _compare_jobs(plan, folder, failed)
  else:
    _compare_meta_trained(plan, plan.typed, folder, failed)


def _compare_meta_trained(
  plan: sweep_plan.Plan, typed: blocks.PipelineConfig, folder: Folder, failed: Failed
) -> None:
  rows = [report.Row(planned.row.table, planned.name, planned.row.paper) for planned in plan.rows]
  tables = {
    planned.name: [_measured(run, typed.meta_evaluate) for run in _ended(planned, failed)]
    for planned in plan.rows
  }
  settings = typed.meta_evaluate.bootstrap_samples, typed.seed
  results = report.summarize(rows, records.gather(tables), *settings)
  _publish(folder, *report.make(results))
  shown.ended(folder, results)
  folder.write_json(RESULTS, results)


def _measured(run: sweep_plan.Run, spec: blocks.MetaEvaluate) -> pd.DataFrame:
  """Accuracies of a run's learned optimizer at the base's longest horizon."""
  changed = blocks.pipeline(run.config)
  name = label(changed.rule, changed.meta_evaluate.baselines)
  table = _records(run)
  return table[
    (table['experiment'] == min(spec.experiments))
    & (table['optimizer'] == name)
    & (table['K'] == max(spec.num_steps))
    & (table['measure'] == 'accuracy')
  ]


def _ended(planned: sweep_plan.Planned, failed: Failed) -> list[sweep_plan.Run]:
  return [run for run in planned.runs if run.folder not in failed]


def _records(run: sweep_plan.Run) -> pd.DataFrame:
  again = f'delete {run.folder / RESULTS} and give the same command again'
  return records.read(run.folder / RECORDS, again)


def _compare_jobs(plan: sweep_plan.Plan, folder: Folder, failed: Failed) -> None:
  rows, tables, ended = [], {}, {}
  for planned in plan.rows:
    ended[planned.name] = _ended(planned, failed)
    reasons = [failed[run.folder] for run in planned.runs if run.folder in failed]
    rows.append(training.Row(planned.name, reasons, planned.row.paper))
    tables[planned.name] = [_records(run) for run in ended[planned.name]]
  table = records.gather(tables)
  _draw(ended, folder)
  text, figures, weights = training.make(rows, table)
  _publish(folder, text, figures)
  if weights:
    folder.write_text(HUB_WEIGHTS, weights)
  results = training.summarize(rows, table)
  shown.ended(folder, results)
  folder.write_json(RESULTS, results)


def _draw(ended: Mapping[str, Sequence[sweep_plan.Run]], folder: Folder) -> None:
  """Draws the reconstruction by each row's first finished seed, if its data are a picture."""
  found = {}
  for name, runs in ended.items():
    drawn = (run.folder / PICTURE for run in runs)
    if path := next((path for path in drawn if path.exists()), None):
      with np.load(path) as arrays:
        found[name] = pictures.Picture(arrays['target'], arrays['output'])
  if found:
    folder.write_figures({'pictures': pictures.compared(found)})


def _publish(folder: Folder, text: str, figures: Mapping[str, Figure]) -> None:
  print(text)
  folder.write_text(TABLE, text)
  folder.write_figures(figures)

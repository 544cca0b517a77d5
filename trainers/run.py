"""Runs a frozen config."""

import contextlib
import os
import pathlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from l2o.errors import InputError, RunError
from trainers.checks import blocks
from trainers.harness import signals, weights
from trainers.harness import workdir as files
from trainers.harness.folder import RESULTS, Folder
from trainers.processes import agreement


def run(
  config: Mapping[str, Any],
  workdir: str | os.PathLike | None,
  default: Mapping[str, Any],
  overrides: Mapping[str, Any],
  sweep_row: str = '',
) -> None:
  """Checks everything, records the run's config, and runs it.

  Args:
    config: a frozen config, see `configs.common.freeze`.
    workdir: the run's folder; an unfinished run of the same config in it is resumed.
    default: the config file's own values, to record the differences.
    overrides: values set on the command line.
    sweep_row: in a sweep, the number or name of the only run to do, or 'list'.

  Raises:
    InputError: before anything is computed or written.
    RunError: a stage cannot continue, or the disk is full.
  """
  if workdir is None:
    raise InputError('--workdir is missing: give --workdir=FOLDER, the folder of the run')
  folder = files.resolve(workdir)
  blocks.typed(config)
  try:
    if config['sweep']:
      from trainers.jobs import sweep  # imports matplotlib, only for sweeps and reports

      sweep.run(config, folder, run_one, build, default, overrides, sweep_row)
    elif sweep_row:
      raise InputError('--sweep_row is for configs with a sweep; this one has none')
    else:
      run_one(config, folder, default, overrides)
  except OSError as error:
    if error.errno is None:
      raise
    raise RunError(
      f'{folder}: {error.strerror} ({error.filename or "unnamed file"}); fix this and give the '
      f'same command again'
    ) from error


def run_one(
  config: Mapping[str, Any],
  folder: Folder,
  default: Mapping[str, Any],
  overrides: Mapping[str, Any],
) -> None:
  """`run` for a config that is not a sweep."""
  if agreement.decided(lambda: files.is_finished(folder, config)):
    print(f'{folder} already holds this run, finished: its results are in {folder / RESULTS}')
    return
  agreement.decided(lambda: weights.refuse_others(folder, config))
  print(
    f'[run] importing and building; nothing is written to {folder} until all is checked',
    flush=True,
  )
  go = agreement.together(lambda: build(config, folder))
  signals.stop_if_asked()
  with files.lock(folder):
    if agreement.decided(lambda: files.is_finished(folder, config)):  # by another run meanwhile
      return
    agreement.decided(lambda: files.describe(folder, config, default, overrides))
    go()
  print(f'[run] done: results are in {folder / RESULTS} and the files beside it')


def plan(config: Mapping[str, Any], topology: str = '', sweep_row: str = '') -> None:
  """Prints what a run of the config would need, from its compiled programs.

  Args:
    config: a frozen config.
    topology: the TPUs to compile for, such as 'v5e:16x16'; '' for the local devices.
    sweep_row: in a sweep, the number or name of the run to plan.

  Raises:
    InputError: the config asks for something impossible, no run of a sweep is named, or the
      topology does not exist.
  """
  blocks.typed(config)
  if config['sweep']:
    config = _row(config, sweep_row)
  from trainers.plan import programs, report
  from trainers.plan import topology as pods
  from trainers.resources import meshes

  meshes.set_cpu_devices(config['cpu_devices'])
  with contextlib.ExitStack() as elsewhere:
    if topology:
      elsewhere.enter_context(meshes.assumed(pods.devices(topology)))
      elsewhere.enter_context(pods.compiled_quickly())
    found = programs.of(config)
    report.make(found, meshes.devices()[0])


def _row(config: Mapping[str, Any], which: str) -> Mapping[str, Any]:
  """The config of one run of a sweep, without a start from the model of another run."""
  from trainers.jobs import sweep_plan

  if which in ('', 'list'):
    raise InputError(
      '--plan is for one run of a sweep: add its number or name, as --sweep_row=list prints them'
    )
  run = sweep_plan.chosen(sweep_plan.build(config, Folder(pathlib.Path())), which)[-1]
  return {**run.config, 'start': ''} if run.cause else run.config


def build(config: Mapping[str, Any], folder: Folder) -> partial[None]:
  """Builds the job or the pipeline of a config; returns a function that runs it in `folder`."""
  from trainers.jobs import pipeline, training_job  # imports TensorFlow and Orbax
  from trainers.resources import meshes

  meshes.set_cpu_devices(config['cpu_devices'])
  if 'train' in config:
    return partial(training_job.run, training_job.build(config, folder), folder)
  return partial(pipeline.run, pipeline.build(config), folder, config)

"""From a frozen config to a finished run."""

import pathlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from l2o.build import check_bounds
from l2o.errors import InputError
from trainers import workdir as files

MAX_CPU_DEVICES = 256


def run(
  config: Mapping[str, Any],
  workdir: str | pathlib.Path,
  default: Mapping[str, Any],
  overrides: Mapping[str, Any],
) -> None:
  """Checks everything, says what the run is, and runs it.

  Args:
    config: a frozen config, see `configs.common.freeze`.
    workdir: folder of the run; an unfinished run of the same config in it goes on.
    default: the config file's own values, to write down what differs.
    overrides: what the command line set.

  Raises:
    InputError: before anything is computed or written.
    RunError: when a stage cannot go on.
  """
  if not str(workdir):
    raise InputError('--workdir must name a folder')
  folder = pathlib.Path(workdir)
  if config['sweep']:
    from trainers import sweep  # matplotlib: only for who draws

    sweep.run(config, folder, run)
    return
  _check(config)
  if files.is_finished(folder, config):
    print(f'{folder} holds this run, finished; its results are in {folder / files.RESULTS}')
    return
  print(
    f'[run] importing and building; nothing is written to {folder} before all is checked',
    flush=True,
  )
  from trainers import job, pipeline, sharding  # TensorFlow and Orbax: only for who computes

  sharding.set_cpu_devices(config['cpu_devices'])
  if 'train' in config:
    built = job.build(config, folder)
    go = partial(job.run, built, folder)
  else:
    plan = pipeline.build(config)
    go = partial(pipeline.run, plan, folder, config)
  with files.lock(folder):
    files.is_finished(folder, config)  # once more: another run may have had it in the meantime
    files.describe(folder, config, default, overrides)
    go()
  print(f'[run] done: {folder / files.RESULTS} and what lies beside it')


def _check(config: Mapping[str, Any]) -> None:
  """What belongs to no stage."""
  check_bounds(
    config,
    at_least={'seed': 0, 'cpu_devices': 1, 'checkpoint_every_secs': 0, 'keep_checkpoints': 1},
    above={'log_every_secs': 0},
  )
  if config['cpu_devices'] > MAX_CPU_DEVICES:
    raise InputError(
      f'cpu_devices must be at most {MAX_CPU_DEVICES}, not {config["cpu_devices"]}: one a core'
    )

"""The folder of a run: whether it may be used, and what is written before anything is computed."""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping
from typing import Any

import filelock

from configs import common
from l2o.errors import InputError

LOCK = '.lock'
RESULTS = 'results.json'  # written last: a run that has it is finished
OPTIMIZER = 'optimizer.safetensors'  # what was meta-trained
SHOWN = 3  # differences that an error lists
PACKAGES = (
  'clu',
  'flax',
  'grain',
  'jax',
  'jaxlib',
  'l2o',
  'matplotlib',
  'ml-collections',
  'numpy',
  'optax',
  'orbax-checkpoint',
  'safetensors',
  'scikit-learn',
  'tensorflow-datasets',
)


def is_finished(workdir: pathlib.Path, config: Mapping[str, Any]) -> bool:
  """Whether the workdir holds this very run, completed; a fresh or unfinished one is not.

  Raises:
    InputError: the workdir is a file, holds something else, or a run with another config.
  """
  there = next(path for path in (workdir, *workdir.absolute().parents) if path.exists())
  if not there.is_dir():
    raise InputError(f'workdir {workdir}: {there} is a file; name a folder')
  path = workdir / 'config.json'
  if not path.exists():
    if not os.access(there, os.W_OK):
      raise InputError(f'workdir {workdir}: {there} cannot be written to; name another folder')
    if workdir.exists() and any(p.name != LOCK for p in workdir.iterdir()):
      raise InputError(f'workdir {workdir} holds files that are not a run; name another folder')
    return False
  try:
    held = json.loads(path.read_text())
    differences = common.diff(held, config)
  except (json.JSONDecodeError, AttributeError) as error:
    raise InputError(f'{path} is no config ({error}); name another workdir') from error
  if differences:
    shown = list(differences.items())[:SHOWN]
    listed = '; '.join(f'{key}: {old} there, {new} now' for key, (old, new) in shown)
    more = f'; {len(differences) - SHOWN} more' if len(differences) > SHOWN else ''
    raise InputError(
      f'workdir {workdir} holds a run with another config ({listed}{more}); use another --workdir'
    )
  return (workdir / RESULTS).exists()


def lock(workdir: pathlib.Path) -> filelock.BaseFileLock:
  """Takes the workdir for this process until it ends, however it ends; makes the folder.

  Raises:
    InputError: a live run has it.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  held = filelock.FileLock(workdir / LOCK)
  try:
    held.acquire(timeout=0)
  except filelock.Timeout as error:
    raise InputError(f'workdir {workdir} is in use by another run; wait or name another') from error
  return held


def describe(
  workdir: pathlib.Path,
  config: Mapping[str, Any],
  default: Mapping[str, Any],
  overrides: Mapping[str, Any],
) -> None:
  """Writes what the run is: config, overrides, diff to the file's default, versions, revision."""
  workdir.mkdir(parents=True, exist_ok=True)
  write_json(workdir / 'config.json', config)  # first: it makes the folder a run
  changes = common.diff(default, config).items()
  lines = [f'{key}: {old!r} -> {new!r}\n' for key, (old, new) in changes]
  (workdir / 'diff.txt').write_text(''.join(lines) or 'as the config file says\n')
  write_json(workdir / 'overrides.json', overrides)
  path = workdir / 'versions.json'
  starts = json.loads(path.read_text()) if path.exists() else []
  write_json(path, [*starts, _versions()])  # one entry for each time the run was started


def read_json(path: pathlib.Path) -> Any:
  """What `write_json` wrote."""
  return json.loads(path.read_text())


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a file that is there whole or not at all."""
  partial = path.with_suffix('.partial')
  partial.write_text(json.dumps(value, indent=1, allow_nan=False) + '\n')
  partial.replace(path)


def _versions() -> dict[str, Any]:
  return {
    'git': revision(),
    'python': platform.python_version(),
    'platform': platform.platform(),
    'packages': {name: importlib.metadata.version(name) for name in PACKAGES},
  }


def revision() -> str:
  """The checkout's commit, marked if files differ from it; 'unknown' outside a checkout."""
  here = pathlib.Path(__file__).parent
  try:
    described = subprocess.run(
      ['git', 'describe', '--always', '--abbrev=40', '--dirty'],
      cwd=here, capture_output=True, text=True, check=True, timeout=10,
    )  # fmt: skip
  except (OSError, subprocess.SubprocessError):
    return 'unknown'
  return described.stdout.strip()

"""The folder of a run: whether it may be used, and what is written before anything is computed."""

import importlib.metadata
import json
import pathlib
import platform
import subprocess
from collections.abc import Mapping
from typing import Any

from configs import common
from l2o.errors import InputError

RESULTS = 'results.json'  # written last: a run that has it is finished
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
  'scikit-learn',
  'tensorflow-datasets',
)


def is_finished(workdir: pathlib.Path, config: Mapping[str, Any]) -> bool:
  """Whether the workdir holds this very run, completed; a fresh or unfinished one is not.

  Raises:
    InputError: the workdir is a file, holds something else, or a run with another config.
  """
  if workdir.exists() and not workdir.is_dir():
    raise InputError(f'workdir {workdir} is a file; name a folder')
  path = workdir / 'config.json'
  if not path.exists():
    if workdir.exists() and any(workdir.iterdir()):
      raise InputError(f'workdir {workdir} holds files that are not a run; name another folder')
    return False
  try:
    held = json.loads(path.read_text())
  except json.JSONDecodeError as error:
    raise InputError(f'{path} cannot be read ({error}); name another workdir') from error
  if differences := common.diff(held, config):
    listed = '; '.join(f'{key}: {old} there, {new} now' for key, (old, new) in differences.items())
    raise InputError(f'workdir {workdir} holds a run with another config ({listed})')
  return (workdir / RESULTS).exists()


def describe(
  workdir: pathlib.Path,
  config: Mapping[str, Any],
  default: Mapping[str, Any],
  overrides: Mapping[str, Any],
) -> None:
  """Writes what the run is: config, overrides, diff to the file's default, versions, revision."""
  workdir.mkdir(parents=True, exist_ok=True)
  changes = common.diff(default, config).items()
  lines = [f'{key}: {old!r} -> {new!r}\n' for key, (old, new) in changes]
  (workdir / 'diff.txt').write_text(''.join(lines) or 'as the config file says\n')
  write_json(workdir / 'overrides.json', overrides)
  write_json(workdir / 'versions.json', _versions())
  write_json(workdir / 'config.json', config)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a file that is there whole or not at all."""
  partial = path.with_suffix('.partial')
  partial.write_text(json.dumps(value, indent=1, allow_nan=False) + '\n')
  partial.replace(path)


def _versions() -> dict[str, Any]:
  return {
    'git': _revision(),
    'python': platform.python_version(),
    'platform': platform.platform(),
    'packages': {name: importlib.metadata.version(name) for name in PACKAGES},
  }


def _revision() -> str:
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

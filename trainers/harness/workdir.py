"""The workdir of a run: checks before use, and the files written before anything is computed."""

import contextlib
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import filelock
from absl import logging

from configs import common
from l2o.errors import InputError
from trainers.harness.folder import CONFIG, DIFF, LOCK, OVERRIDES, RESULTS, VERSIONS, Folder
from trainers.processes import agreement, store

SHOWN = 3  # differences listed in an error
# Keys that say where a run is computed and who reads its images; they may change on resuming.
WHERE = re.compile(r'(.*\.)?(cpu_devices|mesh|placement)(\..*)?|feed\.(threads|workers)')
UNSAFE = re.compile(r'[*?{}\[\]\\\x00-\x1f]')  # Orbax treats a path with these as a pattern
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
  'pandas',
  'safetensors',
  'scikit-learn',
  'tensorflow-datasets',
)


def resolve(workdir: str | os.PathLike) -> Folder:
  """The folder that --workdir names, with '~' expanded.

  Raises:
    InputError: the path is empty, a URL, in an unknown user's home, or has a character that
      checkpoint paths cannot contain.

  Example:
    >>> resolve('runs/a[1]')
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: workdir runs/a[1] has '[' in its path; checkpoints need a path without it
  """
  text = os.fspath(workdir)
  if not text:
    raise InputError('--workdir must name a folder')
  if '://' in text:
    raise InputError(
      f'workdir {text} is a URL; name a local folder, such as one where the bucket is mounted'
    )
  try:
    folder = pathlib.Path(text).expanduser()
  except RuntimeError as error:
    raise InputError(f"workdir {text}: {error}; write the folder's full path") from error
  if found := UNSAFE.search(str(folder.absolute())):
    raise InputError(
      f'workdir {folder} has {found[0]!r} in its path; checkpoints need a path without it'
    )
  return Folder(folder, writes=store.is_first())


def held_config(folder: Folder) -> dict[str, Any] | None:
  """The config of the run in the workdir; None for a folder that a new run may use.

  Raises:
    InputError: the workdir is a file, is not writable, or holds something other than a run.
  """
  try:
    return _held_config(folder)
  except OSError as error:
    raise InputError(
      f'workdir {folder} cannot be used ({error.strerror or error}); name another folder'
    ) from error


def _held_config(folder: Folder) -> dict[str, Any] | None:
  workdir = folder.path
  there = next(path for path in (workdir, *workdir.absolute().parents) if os.path.lexists(path))
  if not there.exists():
    raise InputError(f'workdir {workdir}: {there} is a symbolic link to nothing; name a folder')
  if not there.is_dir():
    raise InputError(f'workdir {workdir}: {there} is a file; name a folder')
  # Read once: another process may be starting the same run.
  names = {path.name for path in workdir.iterdir()} if workdir.exists() else set()
  if CONFIG in names:
    held = folder.read_json(CONFIG, 'name another workdir')
    if not isinstance(held, dict):
      raise InputError(f'{folder / CONFIG} is not a config; name another workdir')
    return held
  if not os.access(there, os.W_OK):
    raise InputError(f'workdir {workdir}: {there} cannot be written to; name another folder')
  longest = os.pathconf(there, 'PC_NAME_MAX')
  if any(len(os.fsencode(part)) > longest for part in workdir.absolute().parts):
    raise InputError(f'workdir {workdir} has a name of more than {longest} bytes; shorten it')
  if names - {LOCK, f'{CONFIG}.partial'}:
    raise InputError(f'workdir {workdir} holds files that are not a run; name another folder')
  return None


def is_finished(folder: Folder, config: Mapping[str, Any]) -> bool:
  """Whether the workdir holds this exact run, finished.

  Unreadable results are reported, then rewritten from the stages' files.

  Raises:
    InputError: see `held_config`; also if the workdir holds a run with another config.
  """
  held = held_config(folder)
  if held is None:
    return False
  refuse_other(folder, held, config)
  path = folder / RESULTS
  if not os.path.lexists(path):
    return False
  if path.is_dir():
    raise InputError(f'{path} is a folder; remove it')
  try:
    folder.read_json(RESULTS, '')
  except InputError:
    logging.warning('%s is damaged and is written again', path)
    return False
  if changed := folder.changed():
    logging.warning('%s: %s is damaged and is written again', folder, ', '.join(changed))
  return not changed


def refuse_other(folder: Folder, held: Mapping[str, Any], config: Mapping[str, Any]) -> None:
  """Raises InputError, naming the first keys that differ, unless both configs are of the same run.

  They are if they differ only in devices; results then agree to rounding, not bit for bit.
  """
  try:
    found = common.diff(held, config)
  except RecursionError as error:
    raise InputError(f'{folder / CONFIG} is not a config; name another workdir') from error
  differences = {key: change for key, change in found.items() if not WHERE.fullmatch(key)}
  if not differences:
    return
  shown = list(differences.items())[:SHOWN]
  listed = '; '.join(f'{key}: {_short(old)} there, {_short(new)} now' for key, (old, new) in shown)
  more = f'; {len(differences) - SHOWN} more' if len(differences) > SHOWN else ''
  raise InputError(
    f'workdir {folder} holds a run with another config ({listed}{more}); use another --workdir'
  )


def _short(value: Any, width: int = 80) -> str:
  text = str(value)
  return text if len(text) <= width else f'{text[:width]}…'


class InUseError(InputError):
  """Another process has locked the workdir."""


@contextlib.contextmanager
def lock(folder: Folder, wait_secs: float = 0.0) -> Iterator[None]:
  """Locks the workdir, creating it if needed; released however the process ends.

  If a run has several processes, process 0 holds the lock for all.

  Args:
    folder: the workdir.
    wait_secs: how long to wait for a lock held by another process.

  Raises:
    InUseError: another process still holds the lock after that time.
    InputError: the folder cannot be created.
  """
  workdir, held = folder.path, filelock.FileLock(folder / LOCK)

  def acquire() -> None:
    try:
      workdir.mkdir(parents=True, exist_ok=True)
      held.acquire(timeout=wait_secs)
    except filelock.Timeout as error:
      raise InUseError(
        f'workdir {workdir} is in use by another run; wait or name another'
      ) from error
    except OSError as error:
      raise InputError(
        f'workdir {workdir} cannot be used ({error.strerror or error}); name another folder'
      ) from error

  agreement.decided(acquire)
  try:
    yield
  finally:
    held.release()


def is_in_use(folder: Folder) -> bool:
  """Whether another process holds the workdir's lock right now."""
  if not agreement.decided((folder / LOCK).exists):
    return False
  try:
    with lock(folder):
      return False
  except InUseError:
    return True


def describe(
  folder: Folder,
  config: Mapping[str, Any],
  default: Mapping[str, Any],
  overrides: Mapping[str, Any],
) -> None:
  """Records the run: config, overrides, diff from the file's default, versions, revision.

  Raises:
    InputError: `versions.json` of an earlier start is damaged.
  """
  there = os.path.lexists(folder / VERSIONS)
  starts = folder.read_json(VERSIONS, 'delete it') if there else []
  if not isinstance(starts, list):
    raise InputError(f'{folder / VERSIONS} is not a list of starts; delete it')
  folder.write_json(CONFIG, config)  # first: it marks the folder as a run
  changes = common.diff(default, config).items()
  lines = [f'{key}: {old!r} -> {new!r}' for key, (old, new) in changes]
  folder.write_text(DIFF, '\n'.join(lines) or 'as the config file says')
  folder.write_json(OVERRIDES, overrides)
  folder.write_json(VERSIONS, [*starts, _versions()])  # one entry per start


def _versions() -> dict[str, Any]:
  return {
    'git': revision(),
    'python': platform.python_version(),
    'platform': platform.platform(),
    'packages': {name: importlib.metadata.version(name) for name in PACKAGES},
  }


def revision() -> str:
  """The checkout's commit, marked if there are local changes; 'unknown' outside a checkout."""
  here = pathlib.Path(__file__).parent
  try:
    described = subprocess.run(
      ['git', 'describe', '--always', '--abbrev=40', '--dirty'],
      cwd=here, capture_output=True, text=True, check=True, timeout=10,
    )  # fmt: skip
  except (OSError, subprocess.SubprocessError):
    return 'unknown'
  return described.stdout.strip()

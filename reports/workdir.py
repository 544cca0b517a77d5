"""What a run has left in its workdir so far."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from l2o.errors import InputError, first_line

# The names in trainers.harness.folder, which reports do not import.
CONFIG = 'config.json'
DIFF = 'diff.txt'
VERSIONS = 'versions.json'
RESULTS = 'results.json'
OPTIMIZER = 'optimizer.safetensors'
METRICS = 'metrics.jsonl'
TIMES = 'times.json'
PICTURE = 'picture.npz'
FIGURES = 'figures'
PAGE = 'report.html'


class Workdir(NamedTuple):
  """A run's folder, its config, and its results if it is finished."""

  path: pathlib.Path
  config: Mapping[str, Any]
  results: Any  # the content of results.json; None if unfinished

  def __truediv__(self, name: str) -> pathlib.Path:
    return self.path / name

  @property
  def is_sweep(self) -> bool:
    """Whether the run is a sweep, with runs inside."""
    return bool(self.config['sweep'])

  @property
  def is_job(self) -> bool:
    """Whether the run, or each run of a sweep, is a training job."""
    return 'train' in self.config

  @property
  def seeds(self) -> dict[str, dict[int, pathlib.Path]]:
    """For a sweep: row name -> seed -> the run's folder, for all runs that have begun."""
    found: dict[str, dict[int, pathlib.Path]] = {}
    for config in sorted(self.path.glob(f'*/seed_*/{CONFIG}')):
      row, seed = config.parent.parent.name, config.parent.name.removeprefix('seed_')
      if seed.isdecimal():
        found.setdefault(row, {})[int(seed)] = config.parent
    return {row: dict(sorted(of_row.items())) for row, of_row in found.items()}


def load(path: pathlib.Path, results: Any = None) -> Workdir:
  """Reads what a run has left.

  Args:
    path: the run's workdir.
    results: the content of results.json, if it is not written yet.

  Raises:
    InputError: there is no run, or its config or results are damaged.
  """
  if not (path / CONFIG).is_file():
    raise InputError(f'{path} holds no run: it has no {CONFIG}; give the workdir of a run')
  config = read(path / CONFIG)
  known = isinstance(config, dict) and 'sweep' in config
  if not known or {'train', 'meta_evaluate'}.isdisjoint(config):
    raise InputError(f'{path / CONFIG} is not a config of this version; give the workdir of a run')
  if results is None and (path / RESULTS).is_file():
    results = read(path / RESULTS)
  return Workdir(path, config, results)


def read(path: pathlib.Path) -> Any:
  """The content of a JSON file. Raises InputError, with the file's name."""
  try:
    return json.loads(path.read_bytes())
  except OSError as error:
    said = error.strerror or str(error)
    raise InputError(
      f'{path} cannot be read ({said}); give the command of its run again'
    ) from error
  except (ValueError, RecursionError) as error:
    reason = first_line(error)
  raise InputError(f'{path} is damaged ({reason}); give the command of its run again')


def text(path: pathlib.Path) -> str:
  """The content of a text file; '' if there is none."""
  return path.read_text(errors='replace') if path.is_file() else ''

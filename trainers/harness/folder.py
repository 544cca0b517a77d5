"""A run's folder: its file names, and how they are written.

Orbax writes the checkpoints, each stage's writer appends its metrics, and `l2o.save` writes the
optimizer; every other file is written here, atomically.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from l2o import atomic
from l2o.errors import InputError

if TYPE_CHECKING:  # imported only by runs that draw figures
  from matplotlib.figure import Figure

CONFIG = 'config.json'
DIFF = 'diff.txt'  # the config against its file's default
OVERRIDES = 'overrides.json'
VERSIONS = 'versions.json'
WEIGHTS = 'weights.json'  # about the weight files that the run starts from
LOCK = '.lock'
RESULTS = 'results.json'  # written last: its presence marks a finished run
DIGESTS = 'digests.json'  # of the files below, when the run finished
RECORDS = 'records.csv.gz'  # every measurement, as one long table
TABLE = 'table.txt'
HUB_WEIGHTS = 'hub_weights.txt'  # second table of a sweep, if it uses HUB
FIGURES = 'figures'
PAGE = 'report.html'  # the whole run, for a reader
OPTIMIZER = 'optimizer.safetensors'  # the learned optimizer of a pipeline
MODEL = 'model.safetensors'  # the network of a training job
PICTURE = 'picture.npz'  # its reconstruction of a picture
METRICS = 'metrics.jsonl'  # this and the files below belong to a stage
PARAMETERS = 'parameters.txt'
TIMES = 'times.json'  # what each start of the stage took
CHECKPOINTS = 'checkpoints'
BEST = 'best'  # training job: the checkpoint with the lowest evaluation loss
BEST_RECORD = 'best.json'
TRACE = 'trace.npz'  # meta-evaluation: the diagnostics of the learned rule


DIGESTED = (RESULTS, RECORDS, TABLE, OPTIMIZER, MODEL, PICTURE)


@dataclasses.dataclass(frozen=True)
class Folder:
  """A run's folder, or a folder inside it.

  Args:
    path: its location.
    writes: whether this process writes; when several processes run one job, only the first does.

  Example:
    >>> import tempfile
    >>> folder = Folder(pathlib.Path(tempfile.mkdtemp())).sub('train')
    >>> folder.write_json(BEST_RECORD, {'step': 3})
    >>> folder.read_json(BEST_RECORD, 'delete it')
    {'step': 3}
  """

  path: pathlib.Path
  writes: bool = True

  def __str__(self) -> str:
    return str(self.path)

  def __truediv__(self, name: str) -> pathlib.Path:
    return self.path / name

  @property
  def name(self) -> str:
    """The folder's name, without its parents."""
    return self.path.name

  def sub(self, name: str) -> 'Folder':
    """A folder inside this one."""
    return dataclasses.replace(self, path=self.path / name)

  def write(self, name: str, content: bytes) -> None:
    """Writes a file, creating the folder if needed."""
    if self.writes:
      self.path.mkdir(parents=True, exist_ok=True)
      atomic.replace(self.path / name, content)

  def write_text(self, name: str, text: str) -> None:
    """Writes text, ending it with a newline."""
    self.write(name, f'{text}\n'.encode())

  def write_json(self, name: str, value: Any) -> None:
    """Writes plain data; numbers must be finite."""
    self.write(name, _json(value))

  def finish(self, results: Any) -> None:
    """Writes the digests of a finished run's files, then `results.json`."""
    if self.writes:
      self.write_json(DIGESTS, self._digests() | {RESULTS: _digest(_json(results))})
      self.write_json(RESULTS, results)

  def changed(self) -> list[str]:
    """The files that have changed or disappeared since `finish`.

    Example:
      >>> import tempfile
      >>> folder = Folder(pathlib.Path(tempfile.mkdtemp()))
      >>> folder.write_text(TABLE, 'accuracy 0.5')
      >>> folder.finish([{'accuracy': 0.5}])
      >>> folder.write_text(TABLE, 'accuracy 0.9')
      >>> folder.changed()
      ['table.txt']
    """
    if not (self / DIGESTS).exists():
      return []  # finished before there were digests
    try:
      kept, now = self.read_json(DIGESTS, ''), self._digests()
    except InputError:
      return [DIGESTS]
    if not isinstance(kept, dict):
      return [DIGESTS]
    return sorted(name for name in kept if kept[name] != now.get(name))

  def _digests(self) -> dict[str, str]:
    there = [name for name in DIGESTED if (self / name).is_file()]
    return {name: _digest((self / name).read_bytes()) for name in there}

  def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as NumPy's npz."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    self.write(name, content.getvalue())

  def write_figures(self, figures: 'Mapping[str, Figure]') -> None:
    """Writes name -> figure as PNG files in `figures`."""
    from reports.figures.style import png  # imports matplotlib

    for name, figure in figures.items():
      self.sub(FIGURES).write(f'{name}.png', png(figure))

  def read_json(self, name: str, remedy: str) -> Any:
    """Reads a file that `write_json` wrote.

    Raises:
      InputError: the file cannot be read; the message ends with the remedy.
    """
    path = self.path / name
    try:
      return json.loads(path.read_bytes())
    except OSError as error:
      said = error.strerror or str(error)
      raise InputError(f'{path} cannot be read ({said}); {remedy}') from error
    except RecursionError:
      reason = 'it is nested too deeply'
    except ValueError as error:  # not JSON, or not UTF-8
      reason = str(error)
    raise InputError(f'{path} is damaged ({reason}); {remedy}')


def _json(value: Any) -> bytes:
  return f'{json.dumps(value, indent=1, allow_nan=False)}\n'.encode()


def _digest(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()

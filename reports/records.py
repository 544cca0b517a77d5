"""The long table of a run: one row for each measured value, from any stage."""

import gzip
import io
import pathlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from l2o.errors import InputError, first_line

FILE = 'records.csv.gz'  # the name in trainers.harness.folder
SCHEMA = {
  'experiment': 'str',  # 'train' for a training job
  'source': 'str',  # the data source; '' for a training job
  'optimizer': 'str',  # one name for a whole grid
  'setting': 'str',  # a grid's learning rate; '' for an optimizer without a grid
  'hand_designed': 'bool',
  'seed': 'int64',  # the run's seed
  'task': 'int64',  # 0 for a training job
  'K': 'int64',  # inner steps of an episode, or the step of a training job
  'measure': 'str',
  'value': 'float32',
}
MEASURES = ('accuracy', 'loss')  # of a task
TUNING = 'tuning'  # prefix of measures on the tasks that settings are chosen on: 'tuning/loss'
ENDS = ('final', 'best', 'test')  # parts of a job's results; their measures are 'best/loss'
_DIGITS = '%.9g'  # distinguishes any float32 from its neighbours, even after a parser's rounding


def of_tasks(
  measured: Mapping[str, np.ndarray], settings: Sequence[str], **known: Any
) -> pd.DataFrame:
  """The table of an optimizer's settings, all on the same tasks.

  Args:
    measured: measure -> [tasks, settings].
    settings: their names, `['']` without a grid.
    **known: the other columns, the same for all.

  Example:
    >>> same = {'experiment': 'A', 'source': 'glyphs', 'optimizer': 'adam', 'hand_designed': True}
    >>> accuracy = np.array([[0.5, 0.25], [0.75, 1.0]])
    >>> table = of_tasks({'accuracy': accuracy}, ['0.1', '0.01'], seed=0, K=10, **same)
    >>> table[['setting', 'task', 'value']].to_numpy().tolist()
    [['0.1', 0, 0.5], ['0.1', 1, 0.75], ['0.01', 0, 0.25], ['0.01', 1, 1.0]]
  """
  values = np.stack([of_measure.T for of_measure in measured.values()], axis=1)
  setting, measure, task = (numbers.ravel() for numbers in np.indices(values.shape))
  return _typed({
    **known,
    'setting': np.array(settings, object)[setting],
    'measure': np.array(list(measured), object)[measure],
    'task': task,
    'value': values.ravel(),
  })  # fmt: skip


def of_job(
  logged: Iterable[Mapping[str, Any]], results: Mapping[str, Any], **known: Any
) -> pd.DataFrame:
  """The table of a training job.

  Args:
    logged: the rows of its metrics.jsonl, each with 'step'.
    results: its results.json; a part may be None.
    **known: optimizer, hand_designed and seed.

  Example:
    >>> logged = [{'step': 1, 'loss': 4.0}, {'step': 2, 'loss': None}]
    >>> results = {'final': {'step': 2, 'eval_loss': 3.0}, 'best': None, 'test': None}
    >>> table = of_job(logged, results, optimizer='adam', hand_designed=True, seed=0)
    >>> table[['K', 'measure', 'value']].to_numpy().tolist()
    [[1, 'loss', 4.0], [2, 'loss', nan], [2, 'final/eval_loss', 3.0]]
  """
  last = results['final']['step']
  ends = [
    {'step': (found := results[part]).get('step', last)}
    | {f'{part}/{name}': value for name, value in found.items() if name != 'step'}
    for part in ENDS
    if results[part]
  ]
  cells = [
    (row['step'], name, value)
    for row in (*logged, *ends)
    for name, value in row.items()
    if name != 'step'
  ]
  found = pd.DataFrame(cells, columns=['K', 'measure', 'value'])
  found['value'] = pd.to_numeric(found['value'], errors='coerce')
  found = found.drop_duplicates(['K', 'measure'], keep='last')  # a damaged log may repeat steps
  return _typed({'experiment': 'train', 'source': '', 'setting': '', 'task': 0, **known, **found})


def of_log(logged: Iterable[Mapping[str, Any]], **known: Any) -> pd.DataFrame:
  """The table of what a job has logged so far, without results; arguments as for `of_job`."""
  return of_job(logged, {'final': {'step': 0}, 'best': None, 'test': None}, **known)


def gather(tables: Mapping[str, Sequence[pd.DataFrame]]) -> pd.DataFrame:
  """The tables of several runs as one, with a column 'row'.

  Args:
    tables: name of a sweep's row -> the tables of its seeds.
  """
  named = [table.assign(row=row) for row, seeds in tables.items() for table in seeds]
  if not named:
    return _typed({name: [] for name in SCHEMA}).assign(row='')
  return pd.concat(named, ignore_index=True)


def pack(table: pd.DataFrame) -> bytes:
  """The bytes of a table's file; equal tables give equal bytes."""
  text = table[list(SCHEMA)].to_csv(
    index=False, float_format=_DIGITS, na_rep='nan', lineterminator='\n'
  )
  return gzip.compress(text.encode(), mtime=0)


def read(path: pathlib.Path, remedy: str) -> pd.DataFrame:
  """Reads the table from a file made by `pack`.

  Raises:
    InputError: the file is missing, damaged or no such table; the message ends with the remedy.
  """
  try:
    return _parse(gzip.decompress(path.read_bytes()).decode())
  except FileNotFoundError as error:
    raise InputError(f'{path} is missing; {remedy}') from error
  except OSError as error:
    if error.errno is not None:  # BadGzipFile, which is one, has none
      raise InputError(f'{path} cannot be read ({error.strerror}); {remedy}') from error
    reason = str(error)
  except (ValueError, OverflowError, EOFError, zlib.error) as error:
    reason = first_line(error)
  raise InputError(f'{path} is damaged ({reason}); {remedy}')


def _parse(text: str) -> pd.DataFrame:
  table = pd.read_csv(
    io.StringIO(text),
    dtype=SCHEMA,
    keep_default_na=False,  # an optimizer may be called 'None'
    na_values={'value': ['nan']},
  )
  if list(table.columns) != list(SCHEMA) or not isinstance(table.index, pd.RangeIndex):
    raise ValueError(f'its columns are not {", ".join(SCHEMA)}')
  return table


def _typed(columns: Mapping[str, Any]) -> pd.DataFrame:
  return pd.DataFrame(columns)[list(SCHEMA)].astype(SCHEMA)

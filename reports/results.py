"""Summarizes each task's measurements as the rows of results.json, and queries those rows."""

import contextlib
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from reports import bootstrap
from reports.records import MEASURES, TUNING

Results = list[dict[str, Any]]

CELL = ['experiment', 'source', 'optimizer', 'setting', 'hand_designed', 'K']  # a row of results
GRID = ['experiment', 'optimizer', 'K']  # cells of one grid at one horizon
COLUMN = ['experiment', 'K']  # of the table: cells in one column are compared
OPTIONAL = (  # keys that only some rows have
  'difference_mean', 'difference_low', 'difference_high', 'at_edge', 'paper', 'seen_classes',
  'beyond_horizon', 'tuned', 'skipped_records', 'accuracy_low', 'accuracy_high',
)  # fmt: skip


def summarize(records: pd.DataFrame, samples: int, seed: int) -> Results:
  """Means over tasks, and each row's paired difference from the best hand-designed one.

  The best is chosen for each experiment and horizon by mean accuracy, in hindsight: the
  strongest opponent in the grid. The difference is accuracy minus that row's on the same tasks.
  For a grid that was tuned on other tasks, only the chosen setting is a row, under the name of its
  optimizer, with the setting as 'tuned'.

  Args:
    records: a table of `reports.records`, with accuracy and loss, also of tuning, if any.
    samples: bootstrap resamples for the 95 % interval of the difference.
    seed: seed of the resampling.

  Returns:
    One dict per row, in the order of the records; a loss that is not finite is None.
  """
  cells, tuned = _cells(records[records['measure'].isin(MEASURES)]), _tuned(records)
  best = _best(cells)
  references = best.reindex(pd.MultiIndex.from_frame(cells[COLUMN])).to_numpy()
  edges = _edges(cells, tuned)
  rows = []
  for cell, reference in zip(cells.itertuples(), references, strict=True):
    chosen = {'tuned': cell.setting} if (cell.experiment, cell.optimizer, cell.K) in tuned else {}
    row = {
      'experiment': cell.experiment,
      'source': cell.source,
      'optimizer': label(cell.optimizer, '' if chosen else cell.setting),
      'family': cell.optimizer,
      'hand_designed': cell.hand_designed,
      'num_steps': cell.K,
      'accuracy_mean': cell.mean,
      'accuracy_std': float(cell.accuracy.std()),
      'loss_mean': _finite(cell.loss.mean()),
      'tasks': len(cell.accuracy),
      'best_hand_designed': bool(cell.Index == reference),
    }
    if not np.isnan(reference):
      paired = cell.accuracy - cells['accuracy'][reference]
      row |= {'difference_mean': float(paired.mean())}
      row |= _interval('difference', paired, samples, seed)
    if not cell.hand_designed:
      row |= _interval('accuracy', cell.accuracy, samples, seed)
    rows.append(row | chosen | ({'at_edge': True} if cell.Index in edges else {}))
  return rows


def with_intervals(rows: Results, records: pd.DataFrame, samples: int, seed: int) -> Results:
  """Rows of an older results.json, with the intervals of accuracy that they lack.

  Args:
    rows: the rows of results.json.
    records: the table they were made from.
    samples: as in `summarize`.
    seed: likewise.
  """
  measured = records[~records['hand_designed'] & (records['measure'] == 'accuracy')]
  found = {
    name: _interval('accuracy', values.to_numpy(), samples, seed)
    for name, values in measured.groupby(GRID)['value']
  }
  return [{**row, **found.get(_grid_of(row), {})} for row in rows]


def _grid_of(row: Mapping[str, Any]) -> tuple[str, str, int]:
  return row['experiment'], row['family'], row['num_steps']


def label(optimizer: str, setting: str) -> str:
  """The name of a setting in tables and in results.json; in a grid, with its learning rate.

  Example:
    >>> label('adam_cosine', '0.01'), label('l3rs', '')
    ('adam_cosine 0.01', 'l3rs')
  """
  return f'{optimizer} {setting}'.rstrip()


def identity(label: str) -> tuple[str, str | float]:
  """What a label names: an optimizer and its setting, as a number however it is written.

  Keys of a config cannot have a dot, so rates in them are written with an exponent.

  Example:
    >>> identity('adam 1e-3') == identity('adam 0.001') != identity('adam 0.01')
    True
    >>> identity('l3rs')
    ('l3rs', '')
  """
  optimizer, _, setting = label.rpartition(' ')
  try:
    return optimizer, float(setting)
  except ValueError:
    return label, ''


def add_paper(rows: Results, paper: Mapping[str, Mapping], num_steps: Sequence[int]) -> None:
  """Adds a paper's accuracy to the rows it reports on, as 'paper', a fraction of 1.

  Args:
    rows: modified in place.
    paper: experiment -> label of an optimizer's setting -> accuracy in % at each horizon.
    num_steps: the horizons.

  Example:
    >>> rows = [{'experiment': 'A', 'optimizer': 'l3rs', 'num_steps': 10}]
    >>> add_paper(rows, {'A': {'l3rs': [50.0, 70.0]}}, [10, 25])
    >>> rows[0]['paper']
    0.5
  """
  reported = {
    (experiment, identity(label)): accuracy
    for experiment, optimizers in paper.items()
    for label, accuracy in optimizers.items()
  }
  for row in rows:
    if found := reported.get((row['experiment'], identity(row['optimizer']))):
      row['paper'] = found[num_steps.index(row['num_steps'])] / 100


def read_lines(path: pathlib.Path) -> Results:
  """The rows of a metrics.jsonl, none if there is no file; damaged lines are skipped."""
  rows = []
  for line in path.read_bytes().splitlines() if path.is_file() else ():
    with contextlib.suppress(ValueError, RecursionError):  # not JSON, or not UTF-8
      row = json.loads(line)
      if isinstance(row, dict) and isinstance(row.get('step'), int):
        rows.append(row)
  return rows


def frame(rows: Results) -> pd.DataFrame:
  """The rows of results.json as a table, with NaN where a row lacks a key."""
  table = pd.DataFrame(rows)
  return table.reindex(columns=[*dict.fromkeys([*table.columns, *OPTIONAL])])


def curve(rows: pd.DataFrame, experiment: str, optimizer: str) -> pd.Series:
  """Mean accuracy of one optimizer against the horizon, ascending."""
  return _against_steps(rows, experiment, optimizer)['accuracy_mean']


def paper_curve(rows: pd.DataFrame, experiment: str, optimizer: str) -> pd.Series:
  """The paper's accuracy against the horizon; empty if there is none."""
  return _against_steps(rows, experiment, optimizer)['paper'].dropna()


def accuracy_interval(rows: pd.DataFrame, experiment: str, optimizer: str) -> pd.DataFrame:
  """The interval of a learned optimizer's mean accuracy: its low and high end at each horizon.

  It is empty if the rows have none, as in older runs.
  """
  ends = ['accuracy_low', 'accuracy_high']
  return _against_steps(rows, experiment, optimizer)[ends].dropna()


def envelope(rows: pd.DataFrame, experiment: str, family: str | None = None) -> pd.Series:
  """The best hand-designed accuracy against the horizon, of one family or of all."""
  rivals = rows[rows['hand_designed'] & (rows['experiment'] == experiment)]
  if family is not None:
    rivals = rivals[rivals['family'] == family]
  return rivals.groupby('num_steps')['accuracy_mean'].max()


def experiments(rows: pd.DataFrame) -> list[str]:
  """The experiments' names, in the order of the rows."""
  return rows['experiment'].unique().tolist()


def learned(rows: pd.DataFrame) -> list[str]:
  """The learned optimizers' names, in the order of the rows."""
  return rows.loc[~rows['hand_designed'], 'optimizer'].unique().tolist()


def families(rows: pd.DataFrame) -> list[str]:
  """The hand-designed families' names, in the order of the rows."""
  return rows.loc[rows['hand_designed'], 'family'].unique().tolist()


def leading(rows: pd.DataFrame, count: int) -> list[str]:
  """The best hand-designed families: first those that are best somewhere, then by mean accuracy.

  Both criteria cover all experiments and horizons.

  Args:
    rows: from `frame`.
    count: how many at most.

  Example:
    >>> known = {'experiment': 'A', 'hand_designed': True}
    >>> cells = [('adam', 10, 0.5), ('adam', 99, 0.6), ('sgd', 10, 0.1), ('sgd', 99, 0.7)]
    >>> rows = [
    ...   known | {'family': name, 'num_steps': steps, 'accuracy_mean': mean}
    ...   for name, steps, mean in [*cells, ('lion', 10, 0.4), ('lion', 99, 0.6)]
    ... ]
    >>> leading(frame(rows), 2)
    ['adam', 'sgd']
  """
  rivals = rows[rows['hand_designed']]
  if rivals.empty:
    return []
  best = rivals.groupby(['family', 'experiment', 'num_steps'])['accuracy_mean'].max()
  winners = best.groupby(['experiment', 'num_steps']).idxmax().str[0].value_counts()
  order = pd.DataFrame({'mean': best.groupby('family').mean()})
  order['wins'] = winners.reindex(order.index, fill_value=0)
  return order.sort_values(['wins', 'mean'], ascending=False).index[:count].tolist()


def _cells(records: pd.DataFrame) -> pd.DataFrame:
  """A row for each value of CELL, in the order of the records, with arrays [tasks] of its measures.

  Means are taken of these arrays: pandas would sum in another order and precision.
  """
  measured = records.groupby([*CELL, 'measure'], sort=False)['value']
  found: dict[tuple, dict[str, np.ndarray]] = {}
  for (*cell, measure), values in measured:
    found.setdefault(tuple(cell), {})[measure] = values.to_numpy()
  cells = pd.DataFrame(
    [dict(zip(CELL, cell, strict=True)) | arrays for cell, arrays in found.items()]
  )
  return cells.assign(mean=[float(values.mean()) for values in cells['accuracy']])


def _best(cells: pd.DataFrame) -> pd.Series:
  """(experiment, K) -> the index of the cell with the best hand-designed setting."""
  return cells[cells['hand_designed']].groupby(COLUMN)['mean'].idxmax()


def _tuned(records: pd.DataFrame) -> dict[tuple, list[str]]:
  """Grids that were tuned -> the settings that were tried."""
  tried = records[records['measure'] == f'{TUNING}/accuracy']
  return {name: list(grid['setting'].unique()) for name, grid in tried.groupby(GRID)}


def _edges(cells: pd.DataFrame, tuned: Mapping[tuple, Sequence[str]]) -> set[int]:
  """Where the best setting of a grid has its lowest or its highest learning rate.

  A wider grid may have a better one there. In a tuned grid, the chosen setting counts.
  """
  edges = set()
  for name, grid in cells[cells['setting'] != ''].groupby(GRID):
    rates = [float(setting) for setting in tuned.get(name, grid['setting'])]
    best = grid['mean'].idxmax()
    if len(rates) > 1 and float(grid['setting'][best]) in (min(rates), max(rates)):
      edges.add(best)
  return edges


def _against_steps(rows: pd.DataFrame, experiment: str, optimizer: str) -> pd.DataFrame:
  chosen = rows[(rows['experiment'] == experiment) & (rows['optimizer'] == optimizer)]
  return chosen.set_index('num_steps').sort_index()


def _interval(name: str, values: np.ndarray, samples: int, seed: int) -> dict[str, float]:
  """The 95 % bootstrap interval of a mean over tasks."""
  low, high = bootstrap.interval(values, samples, seed)
  return {f'{name}_low': low, f'{name}_high': high}


def _finite(x: Any) -> float | None:
  return float(x) if math.isfinite(x) else None

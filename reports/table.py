"""The table of a run, as text."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from reports import tables

LEGEND = """\
±: standard deviation over tasks. *: best hand-designed setting of the column.
<: the best setting of its grid is at the grid's edge; a wider grid may have a better one.
†: more steps than the optimizer marked in the column was meta-trained for.
difference: to the best hand-designed setting, in points on the same tasks, with the 95 % bootstrap
  interval of its mean over tasks, for this one pretraining and meta-training"""


def render(rows: pd.DataFrame) -> str:
  """Optimizers by horizons: mean ± standard deviation over tasks in %, the best baselines marked.

  A learned optimizer has a second line: its paired difference from the best hand-designed setting
  of each column, in points, with the 95 % bootstrap interval.

  Args:
    rows: from `results.frame`.
  """
  parts = [_experiment(of_one) for _, of_one in rows.groupby('experiment', sort=False)]
  return '\n\n'.join([*parts, LEGEND])


def _experiment(rows: pd.DataFrame) -> str:
  lines = []
  for optimizer, row in rows.groupby('optimizer', sort=False):
    at = row.set_index('num_steps')
    lines.append(_line(optimizer, at, _cell))
    if not at['hand_designed'].any() and at['difference_mean'].notna().any():
      lines.append(_line('  difference', at, lambda row: f'{difference(row)} '))
    if at['paper'].notna().any():
      lines.append(_line('  paper', at, _paper))
  horizons = sorted(rows['num_steps'].unique())
  beyond = set(rows.loc[rows['beyond_horizon'].notna(), 'num_steps'])
  heads = {steps: f'K = {steps}{"†" if steps in beyond else ""}' for steps in horizons}
  cells = pd.DataFrame(lines)[['optimizer', *horizons]].rename(columns=heads)
  first = rows.iloc[0]
  title = f'Experiment {first["experiment"]}: {first["source"]}, {first["tasks"]} tasks'
  return '\n'.join([f'{title}, accuracy in %', tables.render(cells), *_notes(rows)])


def _line(name: str, at: pd.DataFrame, cell: Callable[[Any], str]) -> dict[Any, str]:
  """A line of the table: the horizons of `at` -> its cells."""
  return {'optimizer': name} | {row.Index: cell(row) for row in at.itertuples()}


def _cell(row: Any) -> str:
  marks = '*' if row.best_hand_designed else ' ' if pd.isna(row.beyond_horizon) else '†'
  marks += ' ' if pd.isna(row.at_edge) else '<'
  return f'{100 * row.accuracy_mean:.1f} ± {100 * row.accuracy_std:4.1f}{marks}'


def difference(row: Any) -> str:
  """The paired difference of a row in points, with its interval."""
  mean, low, high = (100 * getattr(row, f'difference_{part}') for part in ('mean', 'low', 'high'))
  return f'{mean:+.1f} [{low:+.1f}, {high:+.1f}]'


def _paper(row: Any) -> str:
  return f'{100 * row.paper:.1f}        '


def _notes(rows: pd.DataFrame) -> list[str]:
  """A line for each optimizer that was evaluated on classes it was trained on."""
  seen = rows.dropna(subset='seen_classes').drop_duplicates('optimizer', keep='last')
  return [
    f'note: {row.optimizer} is evaluated on {row.seen_classes:.0f} classes that it or its network '
    f'had seen before'
    for row in seen.itertuples()
  ]

"""The table and the figure of a sweep: each row compared with the base and a paper's value."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports import bootstrap, tables
from reports.figures import style
from reports.figures.style import COLOURS, INK, LEARNED

BASE = 'base'
LONGEST = 120  # characters of a row's name
KEYS = [  # of a row's summary
  'table', 'diff', 'paper', 'seeds', 'accuracy_mean', 'accuracy_low', 'accuracy_high',
  'of_each_seed', 'difference_mean', 'difference_low', 'difference_high',
]  # fmt: skip


class Row(NamedTuple):
  """One row of a sweep."""

  table: str
  diff: str  # from the base
  paper: float | None  # accuracy in %


def name(changes: Mapping[str, tuple[Any, Any]]) -> str:
  """How a row differs from the base, as a folder name: every key and value in full.

  A name that is too long is cut, and ends in a digest of the whole name.

  Example:
    >>> name({'rule.identity': ('embedding', 'none'), 'rule.gammas': ([0.0, 0.9], [])})
    'rule.identity=none,rule.gammas=()'
    >>> name({})
    'base'
  """
  parts = [f'{key}={_value(new)}' for key, (_, new) in changes.items()]
  full = ','.join(parts)
  if len(full) > LONGEST:
    full = f'{full[:LONGEST]}-{hashlib.sha256(full.encode()).hexdigest()[:12]}'
  return re.sub(r'[^\w=+,.()-]', '_', full) or BASE


def summarize(
  rows: Sequence[Row], records: pd.DataFrame, samples: int, seed: int
) -> list[dict[str, Any]]:
  """Means over tasks and seeds, and paired differences from the base on the same tasks.

  Args:
    rows: all rows; the base is the one without a difference.
    records: accuracies of the finished runs, one per task; 'row' is the row's difference.
    samples: bootstrap resamples for the 95 % intervals, over seeds and then over tasks.
    seed: seed of the resampling.

  Returns:
    One dict per row; 'accuracy_mean' is None if no run finished.
  """
  of_seeds = {row.diff: _of_seeds(records[records['row'] == row.diff]) for row in rows}
  base = of_seeds.get(BASE, {})
  return [_summary(row, of_seeds[row.diff], base, samples, seed) for row in rows]


def _of_seeds(records: pd.DataFrame) -> dict[int, np.ndarray]:
  """Seed -> accuracies [tasks], in the order of the records."""
  return {seed: values.to_numpy() for seed, values in records.groupby('seed', sort=False)['value']}


def _summary(
  row: Row,
  accuracy: Mapping[int, np.ndarray],
  base: Mapping[int, np.ndarray],
  samples: int,
  seed: int,
) -> dict[str, Any]:
  found: dict[str, Any] = row._asdict() | {'seeds': len(accuracy), 'accuracy_mean': None}
  if not accuracy:
    return found
  values = list(accuracy.values())
  low, high = bootstrap.nested_interval(values, samples, seed)
  found |= {'accuracy_mean': float(np.mean(values)), 'accuracy_low': low, 'accuracy_high': high}
  found['of_each_seed'] = [float(of_one.mean()) for of_one in values]
  if row.diff != BASE and base.keys() == accuracy.keys():  # the same tasks
    paired = [of_one - base[number] for number, of_one in accuracy.items()]
    low, high = bootstrap.nested_interval(paired, samples, seed)
    mean = float(np.mean(paired))
    found |= {'difference_mean': mean, 'difference_low': low, 'difference_high': high}
  return found


def make(rows: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Figure]]:
  """The table and the figure of a sweep."""
  return render(rows), {'sweep': figure(rows)}


def render(rows: Sequence[Mapping[str, Any]]) -> str:
  """A Markdown table for each table of the sweep; accuracies in %, differences in points."""
  table, parts = _frame(rows), []
  for name, chosen in table.groupby('table', sort=False):
    cells = pd.DataFrame({
      'difference to the base': chosen['diff'],
      'accuracy': [_accuracy(row) for row in chosen.itertuples()],
      'each seed': [_each_seed(row.of_each_seed) for row in chosen.itertuples()],
      'to the base': [_difference(row) for row in chosen.itertuples()],
      'paper': _shown(chosen['paper'], '{:.1f}'),
      'paper to its base': _shown(chosen['paper_difference'], '{:+.1f}'),
    })  # fmt: skip
    parts += [f'### {name}\n', tables.render(cells, 'markdown'), '']
  legend = (
    'Accuracy: mean over tasks and seeds with its 95 % bootstrap interval over seeds, then tasks. '
    'To the base: points on the same tasks, likewise. With one seed neither interval covers '
    'another meta-training.'
  )
  return '\n'.join([*parts, legend])


def figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
  """Differences from the base with their intervals, next to the paper's."""
  shown = _frame(rows).dropna(subset='difference_mean')
  parts = dict(list(shown.groupby('table', sort=False))) or {'': shown}  # only the base ended
  counts = [max(1, len(chosen)) for chosen in parts.values()]
  with style.context(legend=True):
    drawn = Figure(figsize=(2 * style.COLUMN, 1.1 + 0.24 * sum(counts) + 0.5 * len(parts)))
    panels = drawn.subplots(
      len(parts), 1, squeeze=False, sharex=True, gridspec_kw={'height_ratios': counts}
    )[:, 0]
    for axes, (name, chosen) in zip(panels, parts.items(), strict=True):
      at = np.arange(len(chosen))
      mean, low, high = (
        100 * chosen[f'difference_{part}'].to_numpy(float) for part in ('mean', 'low', 'high')
      )
      axes.errorbar(
        mean, at, xerr=[mean - low, high - mean], fmt='o', color=LEARNED, ms=4, label='this run'
      )
      if shown['paper_difference'].notna().any():
        axes.plot(
          chosen['paper_difference'], at, 'D', color=COLOURS[0], ms=4, mfc='white', label='paper'
        )
      axes.axvline(0, color=INK, lw=0.6)
      axes.set_yticks(at, [diff.replace(',', ', ') for diff in chosen['diff']])
      axes.set_title(name, loc='left')
      axes.set_ylim(max(len(chosen), 1) - 0.5, -0.5)
    panels[-1].set_xlabel('accuracy, points to the base (95 % interval)')
    panels[0].legend(loc='best')
  return drawn


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
  """The rows as a table, with NaN where a row lacks a number, and the paper's differences."""
  table = pd.DataFrame(rows).reindex(columns=KEYS)
  table['paper'] = table['paper'].astype(float)
  base = table.loc[table['diff'] == BASE, 'paper']
  return table.assign(paper_difference=table['paper'] - (base.iloc[0] if len(base) else np.nan))


def _value(value: Any) -> str:
  if isinstance(value, (list, tuple)):
    return '+'.join(map(_value, value)) if value else '()'
  if isinstance(value, Mapping):
    return '(' + ','.join(f'{key}={_value(x)}' for key, x in value.items()) + ')'
  return repr(value) if isinstance(value, float) else str(value)


def _accuracy(row: Any) -> str:
  if pd.isna(row.accuracy_mean):
    return 'failed'
  mean, low, high = (100 * getattr(row, f'accuracy_{part}') for part in ('mean', 'low', 'high'))
  return f'{mean:.1f} [{low:.1f}, {high:.1f}]'


def _each_seed(means: Sequence[float] | float) -> str:
  return ', '.join(f'{100 * mean:.1f}' for mean in means) if isinstance(means, list) else ''


def _difference(row: Any) -> str:
  if pd.isna(row.difference_mean):
    return ''
  mean, low, high = (100 * getattr(row, f'difference_{part}') for part in ('mean', 'low', 'high'))
  return f'{mean:+.1f} [{low:+.1f}, {high:+.1f}]'


def _shown(values: pd.Series, form: str) -> list[str]:
  return ['' if np.isnan(value) else form.format(value) for value in values]

"""The table and the figure of a sweep: each row beside the base and beside a paper's figure."""

import hashlib
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from reports import bootstrap
from reports.figures import COLOURS, LEARNED, STYLE

BASE = 'base'
LONGEST = 120  # characters of a row's name


class Row(NamedTuple):
  """One row of a sweep."""

  table: str
  diff: str  # to the base
  paper: float | None  # accuracy in %
  accuracy: Mapping[int, np.ndarray]  # seed that ended -> [tasks]


def name(changes: Mapping[str, tuple[Any, Any]]) -> str:
  """How a row differs from the base, as a folder name: every key and value in full.

  A name that is too long is cut and ends in a digest of the whole.

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


def summarize(rows: Sequence[Row], samples: int, seed: int) -> list[dict[str, Any]]:
  """Means over tasks and seeds, and paired differences to the base on the same tasks.

  Args:
    rows: all rows; the base is the one without a difference.
    samples: bootstrap resamples for the 95 % intervals, over seeds and then over tasks.
    seed: of the resampling.

  Returns:
    One dict a row; 'accuracy_mean' is None where no run ended.
  """
  base = next((row.accuracy for row in rows if row.diff == BASE), {})
  return [_summary(row, base, samples, seed) for row in rows]


def _summary(row: Row, base: Mapping[int, np.ndarray], samples: int, seed: int) -> dict[str, Any]:
  found: dict[str, Any] = {'table': row.table, 'diff': row.diff, 'paper': row.paper}
  found |= {'seeds': len(row.accuracy), 'accuracy_mean': None}
  if not row.accuracy:
    return found
  of_seeds = list(row.accuracy.values())
  low, high = bootstrap.nested_interval(of_seeds, samples, seed)
  found |= {'accuracy_mean': float(np.mean(of_seeds)), 'accuracy_low': low, 'accuracy_high': high}
  found['of_each_seed'] = [float(values.mean()) for values in of_seeds]
  if row.diff != BASE and base.keys() == row.accuracy.keys():  # the same tasks
    paired = [values - base[number] for number, values in row.accuracy.items()]
    low, high = bootstrap.nested_interval(paired, samples, seed)
    mean = float(np.mean(paired))
    found |= {'difference_mean': mean, 'difference_low': low, 'difference_high': high}
  return found


def write(rows: Sequence[Mapping[str, Any]], folder: pathlib.Path) -> str:
  """Writes table.txt and figures/sweep.png; returns the table."""
  text = render(rows)
  (folder / 'table.txt').write_text(text + '\n')
  (folder / 'figures').mkdir(exist_ok=True)
  figure(rows).savefig(folder / 'figures' / 'sweep.png', dpi=120)
  return text


def render(rows: Sequence[Mapping[str, Any]]) -> str:
  """A Markdown table for each table of the sweep; accuracies in %, differences in points."""
  parts = []
  for table in dict.fromkeys(row['table'] for row in rows):
    chosen = [row for row in rows if row['table'] == table]
    parts += [
      f'### {table}\n',
      '| difference to the base | accuracy | each seed | to the base | paper | paper to its base |',
      '|---|---|---|---|---|---|',
      *(_line(row, _paper_base(rows)) for row in chosen),
      '',
    ]
  legend = (
    'Accuracy: mean over tasks and seeds with its 95 % bootstrap interval over seeds, then tasks. '
    'To the base: points on the same tasks, likewise. With one seed neither interval covers '
    'another meta-training.'
  )
  return '\n'.join([*parts, legend])


def figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
  """Differences to the base with their intervals, beside the paper's."""
  shown = [row for row in rows if 'difference_mean' in row]
  tables = list(dict.fromkeys(row['table'] for row in shown)) or ['']
  counts = [max(1, sum(row['table'] == table for row in shown)) for table in tables]
  with mpl.rc_context(STYLE):
    drawn = Figure(figsize=(7.2, 1.1 + 0.24 * sum(counts) + 0.5 * len(tables)))
    panels = drawn.subplots(
      len(tables), 1, squeeze=False, sharex=True, gridspec_kw={'height_ratios': counts}
    )[:, 0]
    for axes, table in zip(panels, tables, strict=True):
      chosen = [row for row in shown if row['table'] == table]
      at = np.arange(len(chosen))
      mean, low, high = (
        100 * np.array([row[f'difference_{part}'] for row in chosen])
        for part in ('mean', 'low', 'high')
      )
      paper = [_paper_difference(row, _paper_base(rows)) for row in chosen]
      axes.errorbar(
        mean, at, xerr=[mean - low, high - mean], fmt='o', color=LEARNED, ms=4, label='this run'
      )
      axes.plot(
        [math.nan if p is None else p for p in paper], at, 'D', color=COLOURS[0], ms=4,
        mfc='white', label='paper',
      )  # fmt: skip
      axes.axvline(0, color='black', lw=0.6)
      axes.set_yticks(at, [row['diff'].replace(',', ', ') for row in chosen])
      axes.set_title(table, loc='left')
      axes.set_ylim(max(len(chosen), 1) - 0.5, -0.5)  # none: every row but the base failed
    panels[-1].set_xlabel('accuracy, points to the base (95 % interval)')
    panels[0].legend(loc='best')
  return drawn


def _value(value: Any) -> str:
  if isinstance(value, (list, tuple)):
    return '+'.join(map(_value, value)) if value else '()'
  if isinstance(value, Mapping):
    return '(' + ','.join(f'{key}={_value(x)}' for key, x in value.items()) + ')'
  return repr(value) if isinstance(value, float) else str(value)


def _paper_base(rows: Sequence[Mapping[str, Any]]) -> float | None:
  return next((row['paper'] for row in rows if row['diff'] == BASE), None)


def _paper_difference(row: Mapping[str, Any], base: float | None) -> float | None:
  return None if row['paper'] is None or base is None else row['paper'] - base


def _line(row: Mapping[str, Any], base: float | None) -> str:
  accuracy, seeds, difference = 'failed', '', ''
  if row['accuracy_mean'] is not None:
    mean, low, high = (100 * row[f'accuracy_{part}'] for part in ('mean', 'low', 'high'))
    accuracy = f'{mean:.1f} [{low:.1f}, {high:.1f}]'
    seeds = ', '.join(f'{100 * mean:.1f}' for mean in row['of_each_seed'])
  if 'difference_mean' in row:
    mean, low, high = (100 * row[f'difference_{part}'] for part in ('mean', 'low', 'high'))
    difference = f'{mean:+.1f} [{low:+.1f}, {high:+.1f}]'
  paper = '' if row['paper'] is None else f'{row["paper"]:.1f}'
  theirs = _paper_difference(row, base)
  shown = '' if theirs is None else f'{theirs:+.1f}'
  return f'| {row["diff"]} | {accuracy} | {seeds} | {difference} | {paper} | {shown} |'

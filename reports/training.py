"""The table and the figures of training jobs that differ in their optimizer, over seeds."""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures import COLOURS, STYLE

FACTS = ('restarts', 'taken_hand_designed', 'taken_learned', 'skipped')  # of the last step


class Runs(NamedTuple):
  """One row of a sweep: the runs of one optimizer."""

  label: str
  metrics: Sequence[Sequence[Mapping[str, Any]]]  # of each seed that ended, the rows it logged
  failed: Sequence[str]  # what the others said


def summarize(rows: Sequence[Runs]) -> list[dict[str, Any]]:
  """Mean and standard deviation over seeds of the last and the lowest evaluation loss.

  Returns:
    One dict a row; its losses are None where no seed ended.
  """
  return [_summary(row) for row in rows]


def write(rows: Sequence[Runs], folder: pathlib.Path) -> str:
  """Writes table.txt and the figures, of losses and where there is one of the path."""
  text = render(summarize(rows))
  (folder / 'table.txt').write_text(text + '\n')
  (folder / 'figures').mkdir(exist_ok=True)
  drawn = {'training': loss_curves(rows)}
  if any('x_2' in seed[0] for row in rows for seed in row.metrics):
    drawn['path'] = paths(rows)
  for name, figure in drawn.items():
    figure.savefig(folder / 'figures' / f'{name}.png', dpi=120)
  return text


def render(rows: Sequence[Mapping[str, Any]]) -> str:
  """A Markdown table."""
  lines = [
    '| optimizer | seeds | last loss | lowest loss | of the last step |',
    '|---|---|---|---|---|',
  ]
  for row in rows:
    facts = ', '.join(f'{name} {value:.4g}' for name, value in row['facts'].items())
    last, lowest = _plus_minus(row, 'final'), _plus_minus(row, 'best')
    lines.append(f'| {row["optimizer"]} | {row["seeds"]} | {last} | {lowest} | {facts} |')
    lines += [f'|  | failed | {reason} |  |  |' for reason in row['failed']]
  legend = (
    'Losses on the evaluation batch: mean ± standard deviation over seeds; means of the facts.'
  )
  return '\n'.join([*lines, '', legend])


def loss_curves(rows: Sequence[Runs]) -> Figure:
  """Training loss against the step: mean over seeds, and a band from the lowest to the highest."""
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(5.6, 3.4))
    axes = figure.subplots()
    for colour, row in zip(itertools.cycle(COLOURS), rows, strict=False):
      _draw_losses(axes, row, colour)
    axes.set(xlabel='step', ylabel='training loss', yscale='log')
    figure.legend(loc='outside right center')
  return figure


def paths(rows: Sequence[Runs]) -> Figure:
  """The path of two coordinates under the first seed, a panel for each optimizer."""
  shown = [row for row in rows if row.metrics]
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(2.2 * len(shown) + 0.4, 2.6))
    panels = figure.subplots(1, len(shown), squeeze=False, sharex=True, sharey=True)[0]
    for axes, row, colour in zip(panels, shown, itertools.cycle(COLOURS), strict=False):
      x, y = (_column(row.metrics[0], name)[1] for name in ('x_1', 'x_2'))
      axes.plot(x, y, color=colour, lw=0.8)
      axes.plot(x[:1], y[:1], 'o', color='black', ms=3)
      axes.plot([0], [0], '+', color='black', ms=7)
      axes.set(title=row.label, xlabel='$x_1$')
    panels[0].set_ylabel('$x_2$')
  return figure


def _summary(row: Runs) -> dict[str, Any]:
  found: dict[str, Any] = {'optimizer': row.label, 'seeds': len(row.metrics)}
  found |= {'failed': list(row.failed), 'facts': {}}
  losses = [_column(seed, 'eval_loss')[1] for seed in row.metrics]
  for name, pick in (('final', lambda x: x[-1]), ('best', np.nanmin)):
    values = np.array([pick(seed) for seed in losses])
    found[f'{name}_mean'] = float(values.mean()) if len(values) else None
    found[f'{name}_std'] = float(values.std()) if len(values) else None
  for fact in FACTS:
    last = [_column(seed, fact)[1] for seed in row.metrics]
    if last and all(len(values) for values in last):
      found['facts'][fact] = float(np.mean([values[-1] for values in last]))
  return found


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
  """(steps, values) of the rows that have it; what was not finite is NaN."""
  there = [row for row in rows if name in row]
  return np.array([row['step'] for row in there]), np.array([row[name] for row in there], float)


def _draw_losses(axes: Axes, row: Runs, colour: str) -> None:
  if not row.metrics:
    return
  steps = _column(row.metrics[0], 'loss')[0]
  losses = np.stack([_column(seed, 'loss')[1] for seed in row.metrics])
  axes.plot(steps, losses.mean(axis=0), color=colour, lw=1.4, label=row.label)
  axes.fill_between(steps, losses.min(axis=0), losses.max(axis=0), color=colour, alpha=0.2, lw=0)


def _plus_minus(row: Mapping[str, Any], name: str) -> str:
  if row[f'{name}_mean'] is None:
    return 'failed'
  return f'{row[f"{name}_mean"]:.4g} ± {row[f"{name}_std"]:.2g}'

"""Figures of an evaluation: accuracy and speed-up, a panel for each experiment."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports import results, speedup
from reports.figures import style
from reports.figures.style import COLOURS, INK, LEARNED, OTHERS, End

TARGETS = 40  # accuracies at which the speed-up is computed


def accuracy_against_steps(rows: pd.DataFrame, only: str | None = None) -> Figure:
  """Accuracy at each horizon, of learned optimizers and of each family's best rate there.

  The best families have a colour, the others are grey; the band is the 95 % bootstrap interval of
  the first learned optimizer's mean over tasks, if the rows have it.

  Args:
    rows: from `results.frame`.
    only: the experiment to draw, in the same colours as among all.
  """
  with style.context():
    names, ours = [only] if only else results.experiments(rows), results.learned(rows)
    figure, panels = style.panels(len(names))
    leading = results.leading(rows, len(COLOURS))
    lines = style.hand_designed(results.families(rows), leading)
    for axes, experiment in zip(panels, names, strict=True):
      best = {family: results.envelope(rows, experiment, family) for family in lines}
      ends = _drawn(axes, {name: curve for name, curve in best.items() if len(curve)}, lines)
      for number, optimizer in enumerate(ours):
        curve = results.curve(rows, experiment, optimizer)
        if curve.empty:
          continue
        line = style.learned(number)
        axes.plot(curve, marker='o', ms=2 + line['lw'] / 1.2, label=optimizer, **line)
        ends.append(End(curve.index[-1], curve.iloc[-1], optimizer, LEARNED, bold=number == 0))
        if not number:
          _band(axes, results.accuracy_interval(rows, experiment, optimizer))
        ends += _paper(axes, results.paper_curve(rows, experiment, optimizer), optimizer)
      source = rows.loc[rows['experiment'] == experiment, 'source'].iloc[0]
      axes.set(title=f'{experiment}: {source}', xlabel='inner steps K', ylabel='accuracy')
      style.log_steps(
        axes, sorted(rows.loc[rows['experiment'] == experiment, 'num_steps'].unique())
      )
      axes.yaxis.set_major_formatter(style.percent())
      style.name_ends(axes, ends)
  return figure


def speedup_curve(rows: pd.DataFrame, only: str | None = None) -> Figure:
  """Ratio of the steps a family needs to those a learned optimizer needs, against accuracy.

  `rows` and `only` as in `accuracy_against_steps`.
  """
  with style.context():
    names = [only] if only else results.experiments(rows)
    optimizer, *_ = results.learned(rows)
    figure, panels = style.panels(len(names))
    leading = results.leading(rows, len(COLOURS))
    lines = style.hand_designed(results.families(rows), leading)
    for axes, experiment in zip(panels, names, strict=True):
      ours = results.curve(rows, experiment, optimizer)
      envelopes = {family: results.envelope(rows, experiment, family) for family in lines}
      ratios = {family: _ratio(ours, theirs) for family, theirs in envelopes.items() if len(theirs)}
      ratios = {family: ratio for family, ratio in ratios.items() if len(ratio)}
      ends = _drawn(axes, ratios, lines, marker='')
      best = _ratio(ours, results.envelope(rows, experiment))
      axes.plot(best, color=INK, lw=5, alpha=0.15, zorder=2, label='best of all')
      if len(best):
        ends.append(End(best.index[-1], best.iloc[-1], 'best of all', OTHERS))
      axes.axhline(1.0, color=INK, lw=0.6, ls=':')
      axes.set(title=f'{experiment}: over {optimizer}', xlabel='accuracy')
      axes.set_ylabel('speed-up: ratio of steps')
      style.log_values(axes)
      axes.xaxis.set_major_formatter(style.percent())
      axes.xaxis.set_major_locator(MaxNLocator(4))
      style.name_ends(axes, ends)
  return figure


def _drawn(axes: Axes, curves: dict[str, pd.Series], lines: dict, marker: str = 'o') -> list[End]:
  """Draws a curve for each family; returns the line ends to name, with one for all grey lines."""
  ends, grey = [], []
  for family, curve in curves.items():
    line = lines[family]
    mark = '' if line['color'] == OTHERS else marker
    axes.plot(curve, marker=mark, ms=2.6, label=family, **line)
    end = End(curve.index[-1], curve.iloc[-1], family, line['color'])
    (grey if line['color'] == OTHERS else ends).append(end)
  if grey:
    middle = sorted(grey, key=lambda end: end.y)[len(grey) // 2]
    several = middle.name if len(grey) == 1 else f'{len(grey)} more families'
    ends.append(middle._replace(name=several))
  return ends


def _band(axes: Axes, interval: pd.DataFrame) -> None:
  if len(interval):
    low, high = interval['accuracy_low'], interval['accuracy_high']
    axes.fill_between(interval.index, low, high, color=LEARNED, alpha=0.2, lw=0, zorder=2)


def _paper(axes: Axes, paper: pd.Series, optimizer: str) -> list[End]:
  if paper.empty:
    return []
  name = f'{optimizer}, paper'
  axes.plot(paper, 'D:', color=LEARNED, ms=3, mfc='white', lw=1, label=name)
  return [End(paper.index[-1], paper.iloc[-1], name, LEARNED)]


def _ratio(ours: pd.Series, theirs: pd.Series) -> pd.Series:
  """The ratio at accuracies that both curves pass through; elsewhere it is unknown."""
  low, high = max(ours.iloc[0], theirs.iloc[0]), min(ours.max(), theirs.max())
  targets = np.linspace(low, high, TARGETS) if high > low else np.empty(0)
  needed = [
    [speedup.steps_to_reach(curve.index, curve.array, target) for target in targets]
    for curve in (theirs, ours)
  ]
  return pd.Series(np.divide(*needed), targets)

"""The figures of a run, each a function from data to a matplotlib Figure."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, PercentFormatter

from reports import results, speedup

# Okabe and Ito's palette: distinct to colour-blind readers, and in print.
LEARNED = '#D55E00'
COLOURS = ('#0072B2', '#E69F00', '#009E73', '#999999', '#CC79A7', '#56B4E9', '#000000')
NAMED_LAYERS = 12  # with more, only colour distinguishes them
DASHES = ('-', '--', ':', '-.')  # one for each cycle through the colours
# Styles of learned optimizers other than the run's own.
ALSO_LEARNED = (('#7F3B08', '--'), ('#F4A15D', '-'), ('#7F3B08', ':'), ('#B22222', '-.'))
SMOOTHED = 9  # generations in a running mean
COLUMNS = 3  # in a figure with a panel for each experiment
STYLE = {
  'axes.spines.right': False,
  'axes.spines.top': False,
  'font.size': 9,
  'legend.frameon': False,
  'legend.handlelength': 3.0,
  'figure.constrained_layout.use': True,
}


def accuracy_against_steps(rows: pd.DataFrame) -> Figure:
  """Accuracy at each horizon, of learned optimizers and of each family's best rate there."""
  names = results.experiments(rows)
  with mpl.rc_context(STYLE):
    figure, panels = _grid(len(names), sharey=True)
    for axes, experiment in zip(panels, names, strict=True):
      for style, family in zip(_hand_designed_styles(), results.families(rows), strict=False):
        best = results.envelope(rows, experiment, family)
        axes.plot(best, marker='o', ms=3, lw=1, label=f'{family}, best rate', **style)
      for style, optimizer in zip(_learned_styles(), results.learned(rows), strict=False):
        ours = results.curve(rows, experiment, optimizer)
        axes.plot(ours, marker='o', ms=4, label=optimizer, **style)
        paper = results.paper_curve(rows, experiment, optimizer)
        if len(paper):
          axes.plot(paper, 'D:', color=LEARNED, ms=4, mfc='white', label=f'{optimizer}, paper')
      source = rows.loc[rows['experiment'] == experiment, 'source'].iloc[0]
      axes.set(title=f'{experiment}: {source}', xlabel='steps K')
      _log_steps(axes, ours.index)
      axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    panels[0].set_ylabel('accuracy on unseen classes')
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside right center')
  return figure


def meta_training_curve(generations: Sequence[Mapping[str, float]]) -> Figure:
  """Meta-loss and accuracy of the population against the generation."""
  table = pd.DataFrame(generations)
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(6.4, 2.8))
    panels = figure.subplots(1, 2)
    for axes, key, label in zip(
      panels, ('loss', 'accuracy'), ('meta-loss', 'accuracy'), strict=True
    ):
      values = table.get(key, pd.Series(np.nan, table.index)).astype(float)
      dots = axes.scatter(table['step'], values, c=table['num_steps'], s=9, cmap='viridis')
      smooth = values.rolling(SMOOTHED, center=True, min_periods=1).mean()
      axes.plot(table['step'], smooth, color=LEARNED, lw=1.6, label='running mean')
      axes.set(xlabel='generation', ylabel=f'{label}, mean of the population')
    panels[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    panels[0].legend(loc='upper right')
    figure.colorbar(dots, ax=panels, label='steps K of the generation')
  return figure


def mixture_against_step(
  mu: Mapping[str, np.ndarray], step_norm: np.ndarray, layers: Sequence[str]
) -> Figure:
  """The choices of an L3RS: mu and lambda against the step, averaged and by layer.

  Args:
    mu: direction -> its share [tasks, K, layers].
    step_norm: lambda, [tasks, K, layers].
    layers: the layers' names.
  """
  steps, norms = np.arange(1, step_norm.shape[1] + 1), step_norm.mean(axis=0)
  last, shares = list(mu)[-1], {name: share.mean(axis=0) for name, share in mu.items()}
  colours = mpl.colormaps['viridis'](np.linspace(0, 1, len(layers)))
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(8.4, 5.0))
    (mean_mu, layer_mu), (mean_norm, layer_norm) = figure.subplots(2, 2, sharex=True)
    for colour, (name, share) in zip(itertools.cycle(COLOURS), shares.items(), strict=False):
      mean_mu.plot(steps, share.mean(axis=1), color=colour, label=name)
    mean_mu.legend()
    mean_norm.plot(steps, norms.mean(axis=1), color='black')
    for layer, (name, colour) in enumerate(zip(layers, colours, strict=True)):
      layer_mu.plot(steps, shares[last][:, layer], color=colour, lw=1.2, label=name)
      layer_norm.plot(steps, norms[:, layer], color=colour, lw=1.2)
    mean_mu.set(title='mean over layers', ylabel='mixture $\\mu$', ylim=(0, 1))
    layer_mu.set(title='per layer', ylabel=f'$\\mu$ of {last}', ylim=(0, 1))
    for axes in (mean_norm, layer_norm):
      axes.set(xlabel='step', ylabel='step norm $\\lambda$', yscale='log')
      axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
      axes.yaxis.set_major_formatter('{x:g}')
      axes.yaxis.set_minor_formatter(NullFormatter())
    if len(layers) <= NAMED_LAYERS:
      figure.legend(*layer_mu.get_legend_handles_labels(), loc='outside right center')
    else:
      scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(1, len(layers)), 'viridis')
      figure.colorbar(scale, ax=[layer_mu, layer_norm], label='layer, in the order of their paths')
  return figure


def speedup_curve(rows: pd.DataFrame) -> Figure:
  """Ratio of the steps a family needs to those a learned optimizer needs, against accuracy."""
  names = results.experiments(rows)
  with mpl.rc_context(STYLE):
    figure, panels = _grid(len(names), sharey=False)
    for axes, experiment in zip(panels, names, strict=True):
      for optimizer in results.learned(rows)[:1]:
        ours = results.curve(rows, experiment, optimizer)
        theirs = results.envelope(rows, experiment)
        _speedup_line(axes, ours, theirs, color='black', lw=5, alpha=0.2, label='best of all')
        for style, family in zip(_hand_designed_styles(), results.families(rows), strict=False):
          theirs = results.envelope(rows, experiment, family)
          _speedup_line(axes, ours, theirs, lw=1, label=f'{family}, best rate', **style)
      axes.axhline(1.0, color='black', lw=0.6, ls=':')
      axes.set(title=f'{experiment}: speed-up of {optimizer}', xlabel='accuracy')
      axes.xaxis.set_major_formatter(PercentFormatter(1.0))
      axes.locator_params('x', nbins=5)
    panels[0].set_ylabel('steps needed / steps of the learned')
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside right center')
  return figure


def _grid(count: int, sharey: bool) -> tuple[Figure, list[Axes]]:
  """A panel for each experiment, three in a row, and room for a legend on the right."""
  columns = min(count, COLUMNS)
  rows = -(-count // columns)
  figure = Figure(figsize=(3.6 * columns + 1.4, 3.2 * rows))
  panels = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel().tolist()
  for empty in panels[count:]:
    empty.set_visible(False)
  return figure, panels[:count]


def _speedup_line(axes: Axes, ours: pd.Series, theirs: pd.Series, **style: object) -> None:
  """Over the accuracies that both curves pass through; elsewhere the ratio is unknown."""
  low, high = max(ours.iloc[0], theirs.iloc[0]), min(ours.max(), theirs.max())
  targets = np.linspace(low, high, 60) if high > low else np.empty(0)
  needed = [
    [speedup.steps_to_reach(curve.index, curve.array, target) for target in targets]
    for curve in (theirs, ours)
  ]
  axes.plot(targets, np.divide(*needed), **style)


def _hand_designed_styles() -> Iterator[dict[str, str]]:
  for dash in DASHES:
    for colour in COLOURS:
      yield {'color': colour, 'ls': dash}


def _learned_styles() -> Iterator[dict[str, Any]]:
  yield {'color': LEARNED, 'ls': '-', 'lw': 2.2}
  for colour, dash in itertools.cycle(ALSO_LEARNED):
    yield {'color': colour, 'ls': dash, 'lw': 1.6}


def _log_steps(axes: Axes, steps: Sequence[int]) -> None:
  axes.set_xscale('log')
  axes.set_xticks(steps, [str(s) for s in steps])
  axes.xaxis.set_minor_locator(NullLocator())

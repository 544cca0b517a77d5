"""Figures of meta-training, and of what the learned optimizer does at each step.

What has very many parts is rasterized, in files of vector graphics, so that they stay small.
"""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.figures import style
from reports.figures.style import COLOURS, COLUMN, INK, LEARNED

NAMED_LAYERS = 12  # with more, only colour distinguishes them
DOTS, VERTICES = 200, 5_000  # more than these are rasterized
SMOOTHED = 9  # generations in a running mean


def meta_training_curve(generations: Sequence[Mapping[str, float]]) -> Figure:
  """Meta-loss and accuracy of the population against the generation."""
  table = pd.DataFrame(generations)
  with style.context(legend=True):
    figure = Figure(figsize=(2 * COLUMN, 2.4))
    panels = figure.subplots(1, 2)
    for axes, key, label in zip(
      panels, ('loss', 'accuracy'), ('meta-loss', 'accuracy'), strict=True
    ):
      values = table.get(key, pd.Series(np.nan, table.index)).astype(float)
      dots = axes.scatter(
        table['step'], values, c=table['num_steps'], s=8, lw=0, alpha=0.8, cmap=style.SCALE,
        clip_on=False, rasterized=len(table) > DOTS,
      )  # fmt: skip
      smooth = values.rolling(SMOOTHED, center=True, min_periods=1).mean()
      axes.plot(table['step'], smooth, color=LEARNED, lw=2, label='running mean')
      axes.set(xlabel='generation', ylabel=f'{label}, mean of the population')
    panels[1].yaxis.set_major_formatter(style.percent())
    panels[0].legend(loc='upper right')
    figure.colorbar(dots, ax=panels, label='steps K of the generation', aspect=30)
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
  colours = style.SCALE(np.linspace(0, 1, len(layers)))
  with style.context(legend=True):
    figure = Figure(figsize=(2 * COLUMN, 3.9))
    (mean_mu, layer_mu), (mean_norm, layer_norm) = figure.subplots(2, 2, sharex=True)
    for colour, (name, share) in zip(itertools.cycle(COLOURS), shares.items(), strict=False):
      mean_mu.plot(steps, share.mean(axis=1), color=colour, label=name)
    mean_mu.legend()
    mean_norm.plot(steps, norms.mean(axis=1), color=INK, label='mean over layers')
    many, rasterized = len(layers) > NAMED_LAYERS, norms.size > VERTICES
    for layer, (name, colour) in enumerate(zip(layers, colours, strict=True)):
      line = {'color': colour, 'lw': 1, 'label': name, 'rasterized': rasterized}
      layer_mu.plot(steps, shares[last][:, layer], **line)
      layer_norm.plot(steps, norms[:, layer], **line)
    mean_mu.set(title='mean over layers', ylabel='mixture $\\mu$', ylim=(0, 1))
    layer_mu.set(title='per layer', ylabel=f'$\\mu$ of {last}', ylim=(0, 1))
    for axes in (mean_norm, layer_norm):
      axes.set(xlabel='step', ylabel='step norm $\\lambda$')
      style.log_values(axes)
    if not many:
      figure.legend(*layer_mu.get_legend_handles_labels(), loc='outside right center')
    else:
      scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(1, len(layers)), style.SCALE)
      figure.colorbar(scale, ax=[layer_mu, layer_norm], label='layer, in the order of their paths')
  return figure

"""The figure of what an L3RS does at each step: mu and lambda, averaged and by layer."""

import itertools
import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures import style
from reports.figures.style import COLOURS, COLUMN, INK

NAMED_LAYERS = 12  # with more, layers are rows of a heat map instead of named lines
NAME_HEIGHT = 0.032  # of a name, as a fraction of a heat map's height


def mixture_against_step(
  mu: Mapping[str, np.ndarray], step_norm: np.ndarray, layers: Sequence[str]
) -> Figure:
  """The choices of an L3RS: mu and lambda against the step, averaged and by layer.

  With many layers, heat maps show the share of each direction except the dominant one, which has
  the rest.

  Args:
    mu: direction -> its share [tasks, K, layers].
    step_norm: lambda, [tasks, K, layers].
    layers: the layers' names.
  """
  shares, norms = {name: x.mean(axis=0) for name, x in mu.items()}, step_norm.mean(axis=0)
  with style.context(legend=True):
    draw = _maps if len(layers) > NAMED_LAYERS else _lines
    return draw(shares, norms, layers)


def _means(shares: Mapping[str, np.ndarray], norms: np.ndarray, mixed: Axes, norm: Axes) -> None:
  steps = np.arange(1, len(norms) + 1)
  for colour, (name, share) in zip(itertools.cycle(COLOURS), shares.items(), strict=False):
    mixed.plot(steps, share.mean(axis=1), color=colour, label=name)
  norm.plot(steps, norms.mean(axis=1), color=INK, label='mean over layers')
  mixed.legend()
  mixed.set(title='mean over layers', ylabel='mixture $\\mu$', ylim=(0, 1))
  norm.set(xlabel='step', ylabel='step norm $\\lambda$')
  style.log_values(norm)


def _lines(shares: Mapping[str, np.ndarray], norms: np.ndarray, layers: Sequence[str]) -> Figure:
  figure = Figure(figsize=(2 * COLUMN, 3.9))
  (mean_mu, layer_mu), (mean_norm, layer_norm) = figure.subplots(2, 2, sharex=True)
  _means(shares, norms, mean_mu, mean_norm)
  steps, last = np.arange(1, len(norms) + 1), list(shares)[-1]
  colours = style.SCALE(np.linspace(0, 1, len(layers)))
  for layer, (name, colour) in enumerate(zip(layers, colours, strict=True)):
    layer_mu.plot(steps, shares[last][:, layer], color=colour, lw=1, label=name)
    layer_norm.plot(steps, norms[:, layer], color=colour, lw=1, label=name)
  layer_mu.set(title='per layer', ylabel=f'$\\mu$ of {last}', ylim=(0, 1))
  layer_norm.set(xlabel='step', ylabel='step norm $\\lambda$')
  style.log_values(layer_norm)
  figure.legend(*layer_mu.get_legend_handles_labels(), loc='outside right center')
  return figure


def _maps(shares: Mapping[str, np.ndarray], norms: np.ndarray, layers: Sequence[str]) -> Figure:
  most = max(shares, key=lambda name: shares[name].mean())
  rare = {name: share for name, share in shares.items() if name != most}
  order = sorted(range(len(layers)), key=lambda layer: (_kind(layers[layer]), layer))
  figure = Figure(figsize=(2 * COLUMN, 6.2))
  above, below = figure.add_gridspec(2, 1, height_ratios=(1, 3))
  mixed, norm = (figure.add_subplot(cell) for cell in above.subgridspec(1, 2))
  _means(shares, norms, mixed, norm)
  mixed.set(xlabel='step')
  grid = below.subgridspec(2, len(rare) + 1, height_ratios=(1, 0.02))
  panels = [figure.add_subplot(grid[0, column]) for column in range(len(rare) + 1)]
  scale = mpl.colors.Normalize(0, max((share.max() for share in rare.values()), default=1))
  for axes, (name, share) in zip(panels, rare.items(), strict=False):
    shown = _map(axes, share[:, order], scale, f'$\\mu$ of {name}')
  if rare:
    bar = figure.colorbar(shown, cax=figure.add_subplot(grid[1, :-1]), orientation='horizontal')
    bar.set_label(f'mixture $\\mu$; {most} has the rest')
    bar.formatter = style.percent(2)
  positive = norms[(norms > 0) & np.isfinite(norms)]
  ends = (positive.min(), positive.max()) if positive.size else (1, 10)
  shown = _map(panels[-1], norms[:, order], mpl.colors.LogNorm(*ends), '$\\lambda$')
  bar = figure.colorbar(shown, cax=figure.add_subplot(grid[1, -1]), orientation='horizontal')
  bar.set_label('step norm $\\lambda$')
  style.log_ticks(bar.ax.xaxis, *ends)
  _name_layers(panels, [layers[layer] for layer in order])
  return figure


def _map(
  axes: Axes, values: np.ndarray, norm: mpl.colors.Normalize, title: str
) -> mpl.image.AxesImage:
  """Draws values [K, layers], with the first layer on top."""
  steps, layers = values.shape
  axes.set(title=title, xlabel='step')
  axes.tick_params(axis='y', length=0, labelsize=style.NAME_SIZE)
  return axes.imshow(
    values.T, norm=norm, cmap=style.SCALE, aspect='auto', interpolation='nearest',
    extent=(0.5, steps + 0.5, layers - 0.5, -0.5),
  )  # fmt: skip


def _kind(layer: str) -> str:
  return layer.rpartition('/')[2]


def _name_layers(panels: Sequence[Axes], layers: Sequence[str]) -> None:
  """Names the layers or, if there are too many, each run of layers of one module and kind.

  A white line separates the kinds.
  """
  kinds, rows = [_kind(layer) for layer in layers], len(layers)
  for axes in panels:
    axes.set_yticks([])
    for row in range(1, rows):
      if kinds[row] != kinds[row - 1]:
        axes.axhline(row - 0.5, color='white', lw=1.5)
  names = list(layers)
  if rows * NAME_HEIGHT > 1:
    modules = (layer.split('/')[0].split('_')[0] for layer in layers)
    names = [f'{module} {kind}' for module, kind in zip(modules, kinds, strict=True)]
  groups = [list(of_one) for _, of_one in itertools.groupby(range(rows), key=names.__getitem__)]
  groups = groups[:: math.ceil(len(groups) * NAME_HEIGHT)]
  middles = [1 - (sum(of_one) / len(of_one) + 0.5) / rows for of_one in groups]
  apart = style.spread(middles, [NAME_HEIGHT] * len(groups))
  panels[0].set_yticks((1 - apart) * rows - 0.5, [names[of_one[0]] for of_one in groups])

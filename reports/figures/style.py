"""The style of every figure: sizes, colours, and names at the ends of lines instead of a legend."""

import io
import itertools
import textwrap
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

# Okabe and Ito's palette: distinct to colour-blind readers, and in print.
LEARNED = '#D55E00'
INK = '#1A1A1A'  # text and axes; on a page they take the colour of its text
COLOURS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', INK)
OTHERS = '#A8A8A8'  # families beyond those with a colour
# Names in light colours are darker than their lines, so that they can be read on white.
NAMES = {'#E69F00': '#946500', '#56B4E9': '#1F7DB3', '#CC79A7': '#A3527F', OTHERS: '#6E6E6E'}
# Both its dark and its light end stay visible on a white and on a dark page.
SCALE = mpl.colors.ListedColormap(mpl.colormaps['viridis'](np.linspace(0.15, 0.9, 256)))
DASHES = ('-', '--', ':', '-.', (0, (6, 2, 1, 2, 1, 2)))

COLUMN = 3.4  # inches: a paper's column; a figure with two panels in a row has the text's width
LEFT, RIGHT, BOTTOM, TOP = 0.52, 1.02, 0.42, 0.26  # inches around a panel; names are on the right
HEIGHT = 2.5  # inches of a panel with its margins
COLUMNS = 2  # panels in a row
NAME = 17  # characters per line of a name
NAME_SIZE = 6.5  # points
SMALLEST = 0.6  # fraction of that size, if many names stand beside a panel
LINE = 1.2  # line spacing of a name, as a fraction of its size
DPI = 160
FEW = 5  # below this ratio of its ends, an axis has evenly spaced numbers
DECADES = 100  # above this ratio of its ends, a logarithmic axis has powers of ten
STYLE = {
  'axes.edgecolor': INK,
  'axes.labelcolor': INK,
  'axes.labelsize': 8,
  'axes.linewidth': 0.6,
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.titlecolor': INK,
  'axes.titlelocation': 'left',
  'axes.titlesize': 8,
  'axes.titleweight': 'bold',
  'font.size': 8,
  'legend.fontsize': 7,
  'legend.frameon': False,
  'legend.handlelength': 3.0,
  'text.color': INK,
  'xtick.color': INK,
  'xtick.labelsize': 7,
  'xtick.major.width': 0.6,
  'ytick.color': INK,
  'ytick.labelsize': 7,
  'ytick.major.width': 0.6,
}
WITH_LEGEND = STYLE | {'figure.constrained_layout.use': True}  # for figures without `panels`


class End(NamedTuple):
  """The end of a line, in data coordinates, and the name to write beside it."""

  x: float
  y: float
  name: str
  colour: str
  bold: bool = False


def panels(count: int) -> tuple[Figure, list[Axes]]:
  """A figure of `count` panels, two in a row, with room for names on the right of each."""
  columns = min(count, COLUMNS)
  rows = -(-count // columns)
  width, height = columns * COLUMN, rows * HEIGHT
  figure = Figure(figsize=(width, height))
  inner = (COLUMN - LEFT - RIGHT) / width, (HEIGHT - BOTTOM - TOP) / height
  drawn = []
  for number in range(count):
    row, column = divmod(number, columns)
    at = (column * COLUMN + LEFT) / width, 1 - ((row + 1) * HEIGHT - BOTTOM) / height
    drawn.append(figure.add_axes((*at, *inner)))
  return figure, drawn


def learned(number: int) -> dict[str, Any]:
  """The line of a learned optimizer; the first one, the run's own, is the thickest."""
  dash = DASHES[number % len(DASHES)]
  return {'color': LEARNED, 'ls': dash, 'lw': 1.4 if number else 2.4, 'zorder': 4}


def hand_designed(names: Sequence[str], leading: Sequence[str]) -> dict[str, dict[str, Any]]:
  """Name -> its line: the leading ones have a colour, all others are grey and thin."""
  coloured = dict(zip(leading, COLOURS, strict=False))
  thin = {'color': OTHERS, 'lw': 0.5, 'zorder': 1}
  return {
    name: {'color': coloured[name], 'lw': 1.1, 'zorder': 3} if name in coloured else thin
    for name in names
  }


def own_and_others(
  names: Sequence[str], own: str | None, rivals: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
  """Name -> its line: `own` is the thickest, and the others cycle through the colours.

  Except `rivals`, hand-designed optimizers beside learned ones, which are thin and grey.
  """
  coloured = itertools.cycle(itertools.product(DASHES, COLOURS))
  grey = itertools.cycle(DASHES)
  lines = {}
  for name in names:
    if name == own:
      lines[name] = learned(0)
    elif name in rivals:
      lines[name] = {'color': OTHERS, 'ls': next(grey), 'lw': 1.1, 'zorder': 2}
    else:
      dash, colour = next(coloured)
      lines[name] = {'color': colour, 'ls': dash, 'lw': 1.6 if rivals else 1.1, 'zorder': 3}
  return lines


def name_ends(axes: Axes, ends: Sequence[End]) -> None:
  """Writes each line's name to the right of the panel, near its end and clear of the others.

  Call it last: it fixes the limits of the axes.
  """
  ends = [end for end in ends if np.isfinite(end.y)]
  if not ends:
    return
  axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
  at = axes.transAxes.inverted().transform(
    axes.transData.transform([(end.x, end.y) for end in ends])
  )
  names = [wrapped(end.name) for end in ends]
  inches = axes.get_position().height * axes.figure.get_figheight()
  heights = np.array([LINE * NAME_SIZE * (1 + name.count('\n')) / (72 * inches) for name in names])
  smaller = max(SMALLEST, min(1.0, 1 / heights.sum()))  # so that all fit beside the panel
  middles = spread(at[:, 1], smaller * heights)
  for (x, y), middle, name, end in zip(at, middles, names, ends, strict=True):
    axes.plot(
      [x, 1.02, 1.05], [y, middle, middle],
      transform=axes.transAxes, color=end.colour, lw=0.4, alpha=0.7, clip_on=False, label='_',
    )  # fmt: skip
    axes.text(
      1.06, middle, name,
      transform=axes.transAxes, color=NAMES.get(end.colour, end.colour), size=smaller * NAME_SIZE,
      va='center', linespacing=1.0, weight='bold' if end.bold else 'normal',
    )  # fmt: skip


def spread(wanted: Sequence[float], heights: Sequence[float]) -> np.ndarray:
  """Positions in [0, 1] of labels that do not overlap, as close as possible to the wanted ones.

  They keep their order and minimize the sum of squared distances. Labels that do not fit begin at
  0 and go beyond 1.

  Source: with z = position - total height of the labels below, the condition is that z ascends; the
  bounds are met by clipping the isotonic regression (R. E. Barlow et al., "Statistical Inference
  under Order Restrictions", 1972).

  Example:
    >>> spread([0.5, 0.5, 0.9], [0.2, 0.2, 0.2]).round(2).tolist()
    [0.4, 0.6, 0.9]
  """
  from scipy.optimize import isotonic_regression  # a quarter of a second, only for figures

  order = np.argsort(wanted, kind='stable')
  tall = np.asarray(heights, float)[order]
  offsets = np.cumsum(tall) - tall / 2
  ascending = isotonic_regression(np.asarray(wanted, float)[order] - offsets).x
  apart = np.clip(ascending, 0, max(0, 1 - tall.sum())) + offsets
  placed = np.empty(len(order))
  placed[order] = apart
  return placed


def wrapped(name: str) -> str:
  """A name in lines of at most `NAME` characters, broken between words where possible.

  Example:
    >>> wrapped('schedule_free_adamw_constant')
    'schedule free\\nadamw constant'
    >>> wrapped('rule.directions=adam')
    'rule.directions=a\\ndam'
  """
  return '\n'.join(textwrap.wrap(name.replace('_', ' '), NAME))


def percent(digits: int = 4) -> FuncFormatter:
  """Formats a fraction of 1 in %, with as many digits as needed, at most `digits`."""
  return FuncFormatter(lambda x, _: f'{100 * x:.{digits}g}%')


def log_steps(axes: Axes, steps: Sequence[int]) -> None:
  """A logarithmic axis with a tick at each of the horizons."""
  axes.set_xscale('log')
  axes.set_xticks(steps, [str(s) for s in steps])
  axes.xaxis.set_minor_locator(NullLocator())


def log_values(axes: Axes) -> None:
  """A logarithmic y axis after plots, with plain numbers where it spans few powers of ten."""
  axes.set_yscale('log')
  log_ticks(axes.yaxis, *axes.get_ylim())


def log_ticks(axis: Axis, low: float, high: float) -> None:
  """Plain numbers on a logarithmic axis that spans few powers of ten; no minor labels."""
  axis.set_minor_formatter(NullFormatter())
  if high < DECADES * low:
    few = high < FEW * low  # 1, 2 and 5 would leave one number or none
    axis.set_major_locator(MaxNLocator(5) if few else LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter('{x:g}')


def context(legend: bool = False) -> Any:
  """The style as a context manager; with a legend or a colour bar, matplotlib finds room."""
  return mpl.rc_context(WITH_LEGEND if legend else STYLE)


def png(figure: Figure) -> bytes:
  """The figure as a PNG of `DPI`; equal figures give equal bytes."""
  content = io.BytesIO()
  FigureCanvasAgg(figure)  # a figure that was drawn as SVG before has a different canvas
  figure.savefig(content, dpi=DPI, metadata={'Software': None})
  return content.getvalue()

"""The figure of meta-training.

If there are very many dots, they are rasterized, to keep vector graphics files small.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.figures import style
from reports.figures.style import COLUMN, LEARNED

DOTS = 200  # more than these are rasterized
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

"""Reconstructions of a picture or a volume by networks, beside the original."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from reports.figures import style

COLUMNS = 5
TITLE = 0.4  # inches
PEAK = 2.0  # width of the range of values


class Picture(NamedTuple):
  """[H, W, C] or [X, Y, Z, C], values in [-1, 1]: an original and a reconstruction."""

  target: np.ndarray
  output: np.ndarray


def compared(pictures: Mapping[str, Picture]) -> Figure:
  """The original and each reconstruction with its PSNR; for a volume, its middle slice.

  Args:
    pictures: label -> picture, all with the same target.
  """
  first = next(iter(pictures.values()))
  shown = {'original': first.target}
  for label, picture in pictures.items():
    error = float(np.mean((picture.output - picture.target) ** 2))
    shown[f'{label}\n{10 * np.log10(PEAK**2 / error):.1f} dB'] = picture.output
  columns = min(len(shown), COLUMNS)
  rows = -(-len(shown) // columns)
  with style.context(legend=True):
    figure = Figure(figsize=(2 * style.COLUMN, (2 * style.COLUMN / columns + TITLE) * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
      axes.axis('off')
    for axes, (title, values) in zip(panels, shown.items(), strict=False):
      axes.imshow(_slice(values), cmap='gray', vmin=0, vmax=1, interpolation='nearest')
      axes.set_title(title)
  return figure


def _slice(values: np.ndarray) -> np.ndarray:
  """[H, W, 3] or [H, W] in [0, 1]."""
  scaled = np.clip((values + 1.0) / 2.0, 0.0, 1.0)
  if values.ndim == 4:
    scaled = np.rot90(scaled[:, :, values.shape[2] // 2])
  return scaled[..., 0] if scaled.shape[-1] == 1 else scaled

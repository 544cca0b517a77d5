"""A figure as SVG inside a page, with the page's fonts and colours, and its points' values."""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from reports.figures.style import INK, NAMES

DPI = 110  # resolution of rasterized parts
FEWEST = 6  # points of a line that show their values, at least
# Text stays text, and ids inside do not change between runs.
SETTINGS = {'svg.fonttype': 'none', 'svg.hashsalt': 'l2o', 'path.simplify_threshold': 0.3}
UNDATED = {'Date': None, 'Creator': None, 'Format': None, 'Type': None}
# The page has its own shades of these, lighter ones when it is dark.
SHADES = {
  INK: 'currentColor',
  '#FFFFFF': 'var(--paper)',
  '#0072B2': 'var(--blue)',
  **{colour: f'var(--name-{number})' for number, colour in enumerate(NAMES.values(), start=1)},
}
NAMESPACE = re.compile(r'\{[^}]*\}')
REFERENCE = re.compile(r'(?:url\(#|href="#)([^)"]+)')
FINE, COARSE = re.compile(r'(\d\.\d\d)\d+'), re.compile(r'(\d\.\d)\d+')  # numbers' last digits
WHOLE = re.compile(r'\.0(?=\s|$)')
FONT = re.compile(r'font-family: [^;]*;?')  # the page's font is used
PLACES = ('d', 'x', 'y', 'transform')


class Inline(NamedTuple):
  """A figure in a page."""

  element: str  # <svg>
  width: str  # inches
  # For the page's script: each line's name, the names of both axes, and of each point its place in
  # the SVG and both values as text.
  series: list[list[Any]]


def inline(figure: Figure, prefix: str, most: int) -> Inline:
  """The figure as an element of a page; equal figures give equal elements.

  Args:
    figure: a matplotlib figure. Ink takes the colour of the page's text, white that of its
      background; see `SHADES`.
    prefix: makes the ids of its parts unique in the page.
    most: the most points that show their values.
  """
  figure.set_dpi(72)  # SVG's resolution, so that a pixel is a point
  content = io.BytesIO()
  with mpl.rc_context(SETTINGS):
    figure.savefig(content, format='svg', dpi=DPI, metadata=UNDATED, transparent=True)
  root = ET.fromstring(content.getvalue())
  _plain(root, prefix)
  for size in ('width', 'height', 'version'):
    root.attrib.pop(size, None)
  root.set('role', 'img')
  width = f'{figure.get_figwidth():.1f}'
  return Inline(ET.tostring(root, encoding='unicode'), width, series(figure, most))


def series(figure: Figure, most: int) -> list[list[Any]]:
  """The named lines and the scatters of a figure, see `inline`."""
  lines = sum(len(list(_data(axes))) for axes in figure.axes)
  of_line = max(FEWEST, most // max(1, lines))
  height = figure.get_figheight() * figure.dpi
  found = []
  for axes in figure.axes:
    names = [_words(axis.label.get_text()) for axis in (axes.xaxis, axes.yaxis)]
    for label, values in _data(axes):
      points = [
        [round(x, 1), round(height - y, 1), _value(axes.xaxis, of_x), _value(axes.yaxis, of_y)]
        for (x, y), (of_x, of_y) in zip(axes.transData.transform(values), values, strict=True)
        if axes.bbox.padded(1).contains(x, y)
      ]
      chosen = np.linspace(0, len(points) - 1, min(of_line, len(points))).round().astype(int)
      if len(points):
        found.append([label, *names, [points[number] for number in chosen]])
  return found


def _data(axes: Axes) -> Iterator[tuple[str, np.ndarray]]:
  """The name and the finite points [n, 2] of lines and scatters."""
  drawn = [
    (line.get_label(), line.get_xydata())
    for line in axes.lines
    if not line.get_label().startswith('_') and line.get_transform() is axes.transData
  ]
  dots = [('', x.get_offsets()) for x in axes.collections if isinstance(x, PathCollection)]
  for label, values in drawn + dots:
    points = np.ma.filled(np.ma.asarray(values, float), np.nan)
    if len(finite := points[np.isfinite(points).all(axis=1)]):
      yield label, finite


def _words(label: str) -> str:
  """An axis label without mathematical markup."""
  return label.replace('$', '').replace('\\', '')


def _value(axis: Any, value: float) -> str:
  said = axis.get_major_formatter()(value, 0)
  return said if said.endswith('%') else f'{value:.4g}'


def _plain(root: ET.Element, prefix: str) -> None:
  """Drops what a page does not need, and the last digits of numbers, in place."""
  used = set(REFERENCE.findall(ET.tostring(root, encoding='unicode')))
  for parent in list(root.iter()):
    for child in list(parent):
      if NAMESPACE.sub('', child.tag) in ('metadata', 'style'):
        parent.remove(child)
  for element in root.iter():
    element.tag = NAMESPACE.sub('', element.tag)
    if not (element.text or '').strip():
      element.text = None
    element.tail = None if not (element.tail or '').strip() else element.tail
    found = {NAMESPACE.sub('', name): value for name, value in element.attrib.items()}
    if found.get('id') not in used:
      found.pop('id', None)
    shape = 'id' in found  # a marker, which is reused many times, keeps its digits
    element.attrib.clear()
    for name, value in found.items():
      element.set(name, _attribute(name, value, prefix, shape))


def _attribute(name: str, value: str, prefix: str, shape: bool) -> str:
  if name == 'id':
    return f'{prefix}-{value}'
  if name == 'href':
    return f'#{prefix}-{value[1:]}' if value.startswith('#') else value.replace('\n', '')
  value = FONT.sub('', value)
  value = ' '.join(value.replace('url(#', f'url(#{prefix}-').split())
  for colour, shade in SHADES.items():
    value = value.replace(colour.lower(), shade)
  if name not in PLACES or shape:
    return FINE.sub(r'\1', value)
  short = COARSE.sub(r'\1', value)
  return WHOLE.sub('', short).replace(' L ', ' ') if name == 'd' else short

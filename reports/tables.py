"""Renders every table."""

from collections.abc import Sequence

import pandas as pd


def render(cells: pd.DataFrame, style: str = 'text') -> str:
  """A table of strings as text.

  Args:
    cells: strings; the first column names the rows.
    style: 'text', aligned, or 'markdown'.

  Example:
    >>> cells = pd.DataFrame({'optimizer': ['adam', 'l3rs'], 'K = 2': ['50.0', '7.5']})
    >>> print(render(cells))
    optimizer  K = 2
    adam        50.0
    l3rs         7.5
    >>> print(render(cells, 'markdown'))
    | optimizer | K = 2 |
    |---|---|
    | adam | 50.0 |
    | l3rs | 7.5 |
  """
  if style == 'markdown':
    head, *body = map(_markdown, [cells.columns, *cells.to_numpy()])
    return '\n'.join([head, '|---' * cells.shape[1] + '|', *body])
  first, *_ = cells.columns
  shown = cells.set_index(first).rename_axis(index=None, columns=first)
  spaced = (' ' + shown).rename(columns=' {}'.format)  # two spaces between columns
  return '\n'.join(line.rstrip() for line in spaced.to_string().splitlines())


def _markdown(cells: Sequence[str]) -> str:
  return '| ' + ' | '.join(cell.replace('|', r'\|') for cell in cells) + ' |'

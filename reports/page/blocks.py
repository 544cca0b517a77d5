"""What a page is made of; `render` turns it into HTML."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure


class Link(NamedTuple):
  """A cell that links to another file, by its path relative to the page."""

  text: str
  href: str


class Column(NamedTuple):
  """A column of a table."""

  name: str
  numeric: bool = False  # sorted by the first number of a cell
  filter: bool = False  # a menu of its values stands above the table


class Row(NamedTuple):
  """A row of a table."""

  cells: Sequence[str | Link]
  kind: str = ''  # 'own' or 'best': how it is marked


class Table(NamedTuple):
  """A table that the reader sorts and filters."""

  columns: Sequence[Column]
  rows: Sequence[Row]
  note: str = ''
  kind = 'table'


class Drawings(NamedTuple):
  """Figures, side by side if there is room."""

  figures: Sequence[Figure]
  caption: str = ''
  kind = 'drawings'


class Values(NamedTuple):
  """Names and what they stand for."""

  items: Sequence[tuple[str, str]]
  kind = 'values'


class Code(NamedTuple):
  """Verbatim text; if it has a title, it opens at a click."""

  text: str
  title: str = ''
  kind = 'code'


class Text(NamedTuple):
  """Paragraphs."""

  paragraphs: Sequence[str]
  kind = 'text'


Block = Table | Drawings | Values | Code | Text


class Section(NamedTuple):
  """A heading and the blocks under it."""

  title: str
  blocks: Sequence[Block]


class Document(NamedTuple):
  """A whole page."""

  title: str
  status: str  # '' if finished; otherwise the first line of the page
  question: str
  verdict: str
  main: Sequence[Block]  # directly under the verdict
  sections: Sequence[Section]


def counted(number: int, what: str) -> str:
  """A number of things, as text.

  Example:
    >>> counted(1, 'seed'), counted(3, 'seed')
    ('1 seed', '3 seeds')
  """
  return f'{number} {what}' if number == 1 else f'{number} {what}s'


def section(title: str, *blocks: Block | None) -> list[Section]:
  """A list with a section of the blocks that are not None; empty if all are None.

  Example:
    >>> section('Config', None, Text(['as the file says']))
    [Section(title='Config', blocks=[Text(paragraphs=['as the file says'])])]
    >>> section('Config', None)
    []
  """
  there = [block for block in blocks if block is not None]
  return [Section(title, there)] if there else []


def columns(*names: str, numeric: Any = (), filters: Any = ()) -> list[Column]:
  """Columns by name.

  Example:
    >>> columns('optimizer', 'K', numeric=['K'])[1]
    Column(name='K', numeric=True, filter=False)
  """
  return [Column(name, name in numeric, name in filters) for name in names]

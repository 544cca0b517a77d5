"""Turns a document into one HTML file that needs no other."""

import itertools
import pathlib

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from reports.page import svg
from reports.page.blocks import Document

POINTS = 600  # per block of figures that show their values
HERE = pathlib.Path(__file__).parent


def render(document: Document) -> str:
  """The page as HTML; equal documents give equal pages.

  All text is escaped; only the figures, which `svg.inline` makes, and the page's own style and
  script go in as they are.

  Example:
    >>> page = render(Document('a <run>', '', 'Which?', 'None.', [], []))
    >>> '<title>a &lt;run&gt;</title>' in page
    True
  """
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.policies['json.dumps_kwargs'] = {'ensure_ascii': False, 'separators': (',', ':')}
  numbers = itertools.count(1)

  def drawn(figure: Figure, beside: int) -> svg.Inline:
    found = svg.inline(figure, f'f{next(numbers)}', POINTS // beside)
    return found._replace(element=Markup(found.element))

  environment.filters['drawn'] = drawn
  parts = {name: Markup((HERE / name).read_text()) for name in ('page.css', 'page.js')}
  return environment.get_template('page.html').render(
    page=document, style=parts['page.css'], script=parts['page.js']
  )

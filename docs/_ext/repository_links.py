"""Links out of docs/ become the file's path in the repository, which the site does not hold.

In the repository they work as they stand. One whose file is missing stays, for Sphinx to warn of.
"""

import pathlib
import re

from sphinx.application import Sphinx

LINK = re.compile(r'(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)\)')


def rewritten(text: str, page: pathlib.Path, docs: pathlib.Path) -> str:
  """The text of a page with its links out of `docs` written as names of files."""

  def name(link: re.Match[str]) -> str:
    target = (page.parent / link[2]).resolve()
    if target.is_relative_to(docs) or not target.exists():
      return link[0]
    return f'{link[1]} (`{target.relative_to(docs.parent)}`)'

  return LINK.sub(name, text)


def read(app: Sphinx, name: str, source: list[str]) -> None:
  """Rewrites a page as it is read."""
  path = pathlib.Path(app.env.doc2path(name))
  source[0] = rewritten(source[0], path.resolve(), pathlib.Path(app.srcdir).resolve())


def setup(app: Sphinx) -> dict[str, bool]:
  """Called by Sphinx."""
  app.connect('source-read', read)
  return {'parallel_read_safe': True}

"""From the docstrings of l2o, which are plain text with Google's sections, to reStructuredText.

Formulas, paragraphs indented by four, stay as they are written; an asterisk or a bar is itself; the
comments beside the fields of a class become a list; and an alias for a tuple's field is no member.
"""

import ast
import functools
import inspect
import re
import textwrap
import tokenize
import typing
from collections.abc import Iterator
from io import StringIO
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

from l2o import arguments

SECTION = re.compile(r'(Args|Attributes|Example|Examples|Fields|Raises|Reference|Returns|Source):$')
FORMULA = ' ' * 4
SPECIAL = re.compile(r'(?<!\\)(?:[*|]|_(?!\w))')


def plain(lines: list[str]) -> list[str]:
  """Literal blocks of formulas, and characters that reStructuredText would take for markup.

  Example:
    >>> plain(['|x| and `f(*x)`:', '', '    y = |x|', '', 'Args:', '  x: [n, *shape].'])
    ['\\\\|x\\\\| and `f(*x)`:', '', '::', '', '    y = |x|', '', 'Args:', '  x: [n, \\\\*shape].']
  """
  found: list[str] = []
  section, formula, quoted = '', False, False
  for number, line in enumerate(lines):
    if line and not line.startswith(' '):
      heading = SECTION.match(line)
      section, formula = heading[1] if heading else '', False
    elif not (section or formula) and begins_formula(lines, number):
      found += ['::', '']
      formula = True
    if formula or section.startswith('Example'):
      found.append(line)
      continue
    parts = line.split('`')
    outside = [quoted != bool(i % 2) for i in range(len(parts))]
    parts = [
      part if inside else SPECIAL.sub(r'\\\g<0>', part)
      for part, inside in zip(parts, outside, strict=True)
    ]
    quoted = outside[-1]
    found.append('`'.join(parts))
  return found


def begins_formula(lines: list[str], number: int) -> bool:
  """Whether an indented paragraph begins here."""
  return lines[number].startswith(FORMULA) and not (number and lines[number - 1].strip())


def comments(source: str) -> Iterator[tuple[str, str]]:
  """The fields of a class with the comments beside or above them.

  Example:
    >>> list(comments('class A:\\n  # how\\n  # many\\n  n: int\\n  x: float  # [n]\\n  y: int\\n'))
    [('n', 'how many'), ('x', '[n]')]
  """
  said = {
    token.start[0]: (token.string.lstrip('# '), not token.line[: token.start[1]].strip())
    for token in tokenize.generate_tokens(StringIO(source).readline)
    if token.type == tokenize.COMMENT
  }
  for node in ast.parse(source).body[0].body:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
      words = []
      above = node.lineno - 1
      while said.get(above, ('', False))[1]:
        words.insert(0, said[above][0])
        above -= 1
      if node.end_lineno in said:
        words.append(said[node.end_lineno][0])
      if words:
        yield node.target.id, ' '.join(words)


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
  """Rewrites a docstring in place, before napoleon reads its sections."""
  del app, name, options
  if what == 'class' and inspect.isclass(obj):
    try:
      fields = list(comments(textwrap.dedent(inspect.getsource(obj))))
    except (OSError, TypeError):
      fields = []
    if fields:
      lines += ['', 'Fields:', *(f'  {field}: {text}' for field, text in fields)]
  lines[:] = plain(lines)


def readable(text: str) -> str:
  """A signature with the names of functions, and of the types of `l2o.arguments`.

  Example:
    >>> readable('(n: Annotated[int, Range(at_least=1, above=-inf, at_most=inf, below=inf)])')
    '(n: Count)'
    >>> readable('(keep=<function keep_theta>)')
    '(keep=keep_theta)'
  """
  text = re.sub(r'<(?:function|class) \'?([\w.]+)\'?(?: at \w+)?>', r'\1', text)
  for name, spelled in bounded():
    text = text.replace(f'~typing.{spelled}', name).replace(spelled, name)
  return text


@functools.cache
def bounded() -> tuple[tuple[str, str], ...]:
  """The annotated types of `l2o.arguments` by name, as they are spelled in full."""
  annotated = {
    name: stringify_annotation(value, mode='smart').replace('~', '').replace('typing.', '')
    for name, value in vars(arguments).items()
    if typing.get_origin(value) is typing.Annotated
  }
  return tuple((name, text.replace('l2o.arguments.', '')) for name, text in annotated.items())


def signature(
  app: Sphinx, what: str, name: str, obj: Any, options: Any, takes: str | None, result: str
) -> tuple[str | None, str]:
  """Replaces what Python prints of a default or a type by its name in the source."""
  del app, what, name, obj, options
  return readable(takes) if takes else takes, result


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
  """Leaves out the fields of tuples, which have their own list, and values of modules."""
  del app, name, skipped, options
  if type(obj).__name__ == '_tuplegetter':
    return True
  if what == 'module' and not callable(obj):
    return True
  return None


def setup(app: Sphinx) -> dict[str, bool]:
  """Called by Sphinx."""
  app.connect('autodoc-process-docstring', process, priority=400)  # napoleon's is 500
  app.connect('autodoc-process-signature', signature)
  app.connect('autodoc-skip-member', skip)
  return {'parallel_read_safe': True}

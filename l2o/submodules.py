"""A package's modules as its attributes, imported on first use."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any


def lookup(package: str) -> Callable[[str], Any]:
  """A `__getattr__` for a package that imports its modules.

  Args:
    package: the package's `__name__`.

  Returns:
    name -> the module; it raises AttributeError if the package has none of that name.

  Example:
    >>> import l2o
    >>> l2o.rules.lgl2o.lgl2o_rule.__name__  # without `import l2o.rules.lgl2o`
    'lgl2o_rule'
  """

  def find(name: str) -> Any:
    if not name.startswith('_') and importlib.util.find_spec(f'{package}.{name}'):
      return importlib.import_module(f'{package}.{name}')
    raise AttributeError(f'module {package!r} has no attribute {name!r}')

  return find

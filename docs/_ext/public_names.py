"""Fails the build if a public name of l2o is missing from the reference."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

logger = logging.getLogger(__name__)


def modules(package: ModuleType) -> Iterator[ModuleType]:
  """The package and every module below it."""
  yield package
  for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):
    yield importlib.import_module(found.name)


def names(module: ModuleType) -> Iterator[tuple[str, object]]:
  """The public classes and functions that a module defines or lists in `__all__`."""
  for name in getattr(module, '__all__', ()):
    yield f'{module.__name__}.{name}', getattr(module, name)
  for name, value in vars(module).items():
    own = getattr(value, '__module__', None) == module.__name__
    if own and callable(value) and hasattr(value, '__name__') and not name.startswith('_'):
      yield f'{module.__name__}.{name}', value


def missing(documented: set[str]) -> list[str]:
  """What of l2o is public and has an entry under none of its names.

  Args:
    documented: qualified names of modules, classes and functions.
  """
  import l2o

  spellings: dict[int, list[str]] = {}
  for module in modules(l2o):
    for name, value in ((module.__name__, module), *names(module)):
      spellings.setdefault(id(value), []).append(name)
  return sorted(found[-1] for found in spellings.values() if not documented & set(found))


def check(app: Sphinx, env: BuildEnvironment) -> None:
  """Warns of each missing name; with -W the build fails."""
  del app
  domain = env.domains.python_domain
  for name in missing({*domain.objects, *domain.modules}):
    logger.warning('%s is public and has no entry in docs/api, or no docstring', name)


def setup(app: Sphinx) -> dict[str, bool]:
  """Called by Sphinx."""
  app.connect('env-check-consistency', check)
  return {'parallel_read_safe': True}

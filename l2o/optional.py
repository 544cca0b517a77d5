"""Packages that only some models and batch sources need."""

import importlib
from typing import Any

from l2o.errors import InputError


def require(module: str, extra: str = 'models', what: str = 'model') -> Any:
  """Imports `module`, which one of l2o's extras installs.

  Args:
    module: its dotted name.
    extra: the extra, as `pip install 'l2o[extra]'` takes it.
    what: what needs it, for the error message.

  Raises:
    InputError: it is not installed; the message says how to install it.

  Example:
    >>> require('no_such_package.wirings')
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: this model needs no_such_package: pip install 'l2o[models]'
  """
  try:
    return importlib.import_module(module)
  except ModuleNotFoundError as error:
    package = module.split('.')[0]
    if error.name is None or error.name.split('.')[0] != package:
      raise
    raise InputError(f"this {what} needs {package}: pip install 'l2o[{extra}]'") from None

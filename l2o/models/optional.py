"""Packages that only some models need."""

import importlib
from typing import Any

from l2o.errors import InputError


def require(module: str) -> Any:
  """Imports `module`, of the extra 'models'.

  Raises:
    InputError: it is not installed; the message says how it is.

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
    raise InputError(f"this model needs {package}: pip install 'l2o[models]'") from None

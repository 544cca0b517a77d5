"""Inner problems, by the name a config gives them."""

from typing import TYPE_CHECKING

from l2o.submodules import lookup

TASKS = {
  'classification': 'l2o.tasks.classification:classification',
  'function': 'l2o.tasks.function:function',
  'language_model': 'l2o.tasks.language_model:language_model',
  'regression': 'l2o.tasks.regression:regression',
}

if not TYPE_CHECKING:  # as in l2o itself
  __getattr__ = lookup(__name__)

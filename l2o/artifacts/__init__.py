"""Saving and loading optimizers, and the zoo that comes with l2o."""

from typing import TYPE_CHECKING

from l2o.submodules import lookup

if not TYPE_CHECKING:  # as in l2o itself
  __getattr__ = lookup(__name__)

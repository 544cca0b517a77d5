"""HUB: a hand-designed and a learned optimizer, mixed entry by entry."""

from typing import TYPE_CHECKING

from l2o.rules.hub.mix import hub
from l2o.submodules import lookup

__all__ = ['hub']

if not TYPE_CHECKING:  # as in l2o itself
  __getattr__ = lookup(__name__)

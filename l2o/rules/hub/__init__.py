"""HUB: a hand-designed and a learned optimizer, mixed entry by entry."""

from l2o.rules.hub.mix import hub

__all__ = ['hub']

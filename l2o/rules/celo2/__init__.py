"""Celo2 and its base form."""

from l2o.rules.celo2.rule import celo2, celo2_base

__all__ = ['celo2', 'celo2_base']

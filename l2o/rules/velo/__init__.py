"""VeLO and Celo: the rules, their networks and their released weights."""

from l2o.rules.released import load_theta
from l2o.rules.velo.rule import celo, velo

__all__ = ['celo', 'load_theta', 'velo']

"""VeLO and Celo: the rules, their networks and their released weights."""

from l2o.rules.velo.rule import celo, velo
from l2o.rules.velo.weights import load_theta

__all__ = ['celo', 'load_theta', 'velo']

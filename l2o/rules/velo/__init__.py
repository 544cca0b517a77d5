"""VeLO and Celo, and what they are made of."""

from l2o.rules.velo.rule import celo, velo
from l2o.rules.velo.weights import load_theta

__all__ = ['celo', 'load_theta', 'velo']

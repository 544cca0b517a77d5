"""L3RS: the rule, its base optimizers' directions, and the features of layers."""

from l2o.rules.l3rs.rule import l3rs

__all__ = ['l3rs']

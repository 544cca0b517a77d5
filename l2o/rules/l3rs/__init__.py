"""L3RS, and what it is made of: directions of base optimizers, and features of layers."""

from l2o.rules.l3rs.rule import l3rs

__all__ = ['l3rs']

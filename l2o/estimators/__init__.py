"""Estimators of the meta-gradient, by the name a config gives them."""

ESTIMATORS = {'nes': 'l2o.estimators.nes:nes'}

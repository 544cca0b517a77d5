"""Estimators of the meta-gradient, by the name a config gives them.

A factory returns an `EvolutionStrategy`, or takes `meta_loss` and returns an `Estimator`.
"""

ESTIMATORS = {'nes': 'l2o.estimators.nes:nes'}

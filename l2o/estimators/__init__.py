"""Estimators of the meta-gradient, by the name a config gives them.

A factory in `ESTIMATORS` returns an `EvolutionStrategy`, or takes `meta_loss` and returns an
`Estimator`. One in `ONLINE` takes `unroll`, an inner problem step by step, and returns an
`OnlineEstimator`, which makes an estimate from each window of an episode.
"""

from typing import TYPE_CHECKING

from l2o.submodules import lookup

ESTIMATORS = {
  'full_es': 'l2o.estimators.full_es:full_es',
  'nes': 'l2o.estimators.nes:nes',
}
ONLINE = {
  'gpes': 'l2o.estimators.gpes:gpes',
  'nres': 'l2o.estimators.nres:nres',
  'pes': 'l2o.estimators.pes:pes',
  'reverse_mode': 'l2o.estimators.reverse_mode:reverse_mode',
  'truncated_es': 'l2o.estimators.truncated_es:truncated_es',
}

if not TYPE_CHECKING:  # as in l2o itself
  __getattr__ = lookup(__name__)

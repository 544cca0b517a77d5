"""l2o: learned optimizers in JAX.

A `LearnedRule`, bound to meta-parameters theta, is an ordinary optax transformation; a `Task` is an
inner problem to train on; an `Estimator` estimates the gradient of the meta-loss in theta.
"""

from l2o.artifacts import load, read, save, zoo
from l2o.errors import InputError
from l2o.rules import rule
from l2o.rules.hub import hub
from l2o.rules.lgl2o import lgl2o
from l2o.types import Episode, Estimator, LearnedRule, Task, TaskBatch

__all__ = [
  'Episode',
  'Estimator',
  'InputError',
  'LearnedRule',
  'Task',
  'TaskBatch',
  'hub',
  'lgl2o',
  'load',
  'read',
  'rule',
  'save',
  'zoo',
]

"""l2o: learned optimizers in JAX.

A `LearnedRule`, bound to meta-parameters theta, is an ordinary optax transformation; a `Task` is an
inner problem to train on; an `Estimator` estimates the gradient of the meta-loss w.r.t. theta.
"""

import importlib
from typing import TYPE_CHECKING, Any

from l2o import submodules

if TYPE_CHECKING:
  from l2o.artifacts.artifact import load, read, save, zoo
  from l2o.errors import InputError
  from l2o.rules import rule
  from l2o.rules.hub import hub
  from l2o.rules.lgl2o import lgl2o
  from l2o.types import Episode, Estimator, EvolutionStrategy, LearnedRule, Task, TaskBatch

__all__ = [
  'Episode',
  'Estimator',
  'EvolutionStrategy',
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

# Where each name lives. Names are imported on first use: a command line that is refused, or whose
# run is finished, needs `l2o.errors` and the like but neither JAX nor flax, which take a second.
_HOMES = {
  'Episode': 'l2o.types',
  'Estimator': 'l2o.types',
  'EvolutionStrategy': 'l2o.types',
  'InputError': 'l2o.errors',
  'LearnedRule': 'l2o.types',
  'Task': 'l2o.types',
  'TaskBatch': 'l2o.types',
  'hub': 'l2o.rules.hub',
  'lgl2o': 'l2o.rules.lgl2o',
  'load': 'l2o.artifacts.artifact',
  'read': 'l2o.artifacts.artifact',
  'rule': 'l2o.rules',
  'save': 'l2o.artifacts.artifact',
  'zoo': 'l2o.artifacts.artifact',
}


def _lookup(name: str) -> Any:
  if home := _HOMES.get(name):
    return globals().setdefault(name, getattr(importlib.import_module(home), name))
  return submodules.lookup(__name__)(name)  # `l2o.rules` after `import l2o`


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # with `__getattr__`, a type checker would accept any name
  __getattr__ = _lookup

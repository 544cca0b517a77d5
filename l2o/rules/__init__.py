"""Rules, optimizers with meta-parameters learned or set by hand, by their names in configs.

- l3rs: base optimizers' directions, mixed layer by layer.
- velo: VeLO and Celo, a per-tensor network that sets up a per-parameter one.
- celo2 and its base form, adafac_mlp_lopt, mlp_lopt: one small network for all parameters.
- hub, lgl2o: two rules, mixed entry by entry or chosen by their loss.
- hand_designed: optax's optimizers, with schedules; head_only: any rule on the head alone.
"""

from typing import TYPE_CHECKING, Any

from l2o.registry import build
from l2o.submodules import lookup

if TYPE_CHECKING:  # the table is read without importing JAX
  from l2o.types import LearnedRule

RULES = {
  'adafac_mlp_lopt': 'l2o.rules.adafac_mlp_lopt:adafac_mlp_lopt',
  'artifact': 'l2o.artifacts.rule:artifact',
  'celo': 'l2o.rules.velo.rule:celo',
  'celo2': 'l2o.rules.celo2.rule:celo2',
  'celo2_base': 'l2o.rules.celo2.rule:celo2_base',
  'hand_designed': 'l2o.rules.hand_designed:hand_designed',
  'head_only': 'l2o.rules.head_only:head_only',
  'hub': 'l2o.rules.hub.rule:hub_rule',
  'l3rs': 'l2o.rules.l3rs.rule:l3rs',
  'lgl2o': 'l2o.rules.lgl2o:lgl2o_rule',
  'mlp_lopt': 'l2o.rules.mlp_lopt:mlp_lopt',
  'velo': 'l2o.rules.velo.rule:velo',
}


def rule(name: str, **kwargs: Any) -> 'LearnedRule':
  """Builds a rule by name.

  Raises:
    InputError: no such rule, or an argument it does not take; the message lists the choices.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> l3rs = rule('l3rs', directions=('sgd', 'adam'))
    >>> theta = l3rs.init(jax.random.key(0), {'w': jnp.ones(3)})
    >>> tx = l3rs.bind(theta, num_steps=100)
  """
  return build(RULES, {'name': name, **kwargs}, 'rule')


if not TYPE_CHECKING:  # as in l2o itself
  __getattr__ = lookup(__name__)

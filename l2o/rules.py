"""Rules, by the name a config gives them."""

from typing import Any

from l2o.build import build
from l2o.types import LearnedRule

RULES = {
  'celo': 'l2o.velo:celo',
  'hand_designed': 'l2o.hand_designed:hand_designed',
  'l3rs': 'l2o.l3rs:l3rs',
  'velo': 'l2o.velo:velo',
}


def rule(name: str, **kwargs: Any) -> LearnedRule:
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

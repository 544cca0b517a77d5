"""Rules, by the name a config gives them."""

from typing import Any

import jax

from l2o.build import build
from l2o.types import LearnedRule, Params, Theta

RULES = {
  'artifact': 'l2o.rules:artifact',
  'celo': 'l2o.velo:celo',
  'hand_designed': 'l2o.hand_designed:hand_designed',
  'head_only': 'l2o.head_only:head_only',
  'hub': 'l2o.pairs:hub_rule',
  'l3rs': 'l2o.l3rs:l3rs',
  'lgl2o': 'l2o.pairs:lgl2o_rule',
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


def artifact(path: str, on_mismatch: str = 'error') -> LearnedRule:
  """A meta-trained optimizer as a rule whose theta begins with what it learned.

  Args:
    path: a file that `l2o.save` wrote, or a name of the zoo.
    on_mismatch: see `l2o.load`.

  Raises:
    InputError: as `l2o.load`.

  Example:
    >>> import jax.numpy as jnp
    >>> learned = artifact('l3rs-quickstart', on_mismatch='mean_embedding')
    >>> theta = learned.init(jax.random.key(0), {'w': jnp.ones(3)})
    >>> tx = learned.bind(theta, num_steps=100)
  """
  from l2o.artifact import read  # which needs `rule`

  held = read(path)

  def init(key: jax.Array, params: Params) -> Theta:
    del key
    theta = held.rule.adapt(held.theta, params, on_mismatch=on_mismatch)
    return jax.tree.map(jax.numpy.asarray, theta)

  return held.rule._replace(init=init)

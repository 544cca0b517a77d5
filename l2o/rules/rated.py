"""A learned rule whose learning rate is part of theta.

A grid of its rates is then a stack of thetas, mapped over like a population, as for a hand-designed
rule.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from l2o.errors import InputError
from l2o.registry import build
from l2o.rules import RULES
from l2o.rules.contract import ANY, strict
from l2o.types import Horizon, LearnedRule, Params, PyTree, Theta

PROPORTIONAL = ('celo2', 'celo2_base')  # their updates are proportional to their learning rate


def rated(rule: Mapping[str, Any]) -> LearnedRule:
  """A rule with theta = `{'rule': its own theta, 'learning_rate': []}`; theta's rate starts at 1.

  Its update is the rate times the update of the rule at rate 1.

  Args:
    rule: name and arguments, without `learning_rate`; one of `PROPORTIONAL`.

  Raises:
    InputError: any other rule, or as for that rule.

  Example:
    >>> params = {'kernel': jnp.array([[1.0, 2.0], [3.0, 5.0]])}
    >>> rule = rated({'name': 'celo2'})
    >>> theta = {**rule.init(jax.random.key(0), params), 'learning_rate': jnp.float32(0.01)}
    >>> tx = rule.bind(theta, num_steps=10)
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> round(float(jnp.sqrt(jnp.mean(updates['kernel'] ** 2))), 4)
    0.01
  """
  if rule.get('name') not in PROPORTIONAL:
    names = ', '.join(('hand_designed', *PROPORTIONAL))
    raise InputError(f'learning_rates are for these rules alone: {names}')
  one = build(RULES, {**rule, 'learning_rate': 1.0}, 'rule')

  def init(key: jax.Array, params: Params) -> Theta:
    return {'rule': one.init(key, params), 'learning_rate': jnp.float32(1.0)}

  def bind(theta: Theta, num_steps: Horizon) -> optax.GradientTransformationExtraArgs:
    tx, rate = one.bind(theta['rule'], num_steps), theta['learning_rate']

    def update(
      grads: PyTree, state: PyTree, params: Params | None = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
      updates, state = tx.update(grads, state, params, **extra)
      return jax.tree.map(lambda u: (rate * u).astype(u.dtype), updates), state

    return strict('rated', tx.init, update, trains=ANY)

  return LearnedRule(init, bind)

"""HUB as a rule."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from l2o.rules.hub.mix import HubState, hub
from l2o.rules.hub.weightings import Weighting
from l2o.rules.two_sided import two_sided
from l2o.types import LearnedRule, Metrics


def hub_rule(
  hand_designed: Mapping[str, Any],
  learned: Mapping[str, Any],
  weighting: str | Mapping[str, Any] | Weighting = 'vanilla',
) -> LearnedRule:
  """`l2o.hub` of two rules, with theta = {'hand_designed': …, 'learned': …}.

  Args:
    hand_designed: name and arguments of a rule.
    learned: likewise.
    weighting: as `l2o.hub` takes it.

  Raises:
    InputError: as in `l2o.rule` and `l2o.hub`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> adam = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 0.1}
    >>> rule = hub_rule(adam, {'name': 'l3rs'}, weighting='inverted')
    >>> params = {'w': jnp.ones(3)}
    >>> tx = rule.bind(rule.init(jax.random.key(0), params), num_steps=10)
    >>> updates, state = tx.update(params, tx.init(params), params, value=jnp.array(0.7))
    >>> [round(w, 3) for w in rule.diagnostics(state)['weight_mean'].tolist()]
    [0.667]
  """

  def diagnostics(state: HubState) -> Metrics:
    statistics = {f'weight_{name}': x for name, x in state.weights._asdict().items()}
    counts = ('nonfinite_hand_designed', 'nonfinite_learned')
    return statistics | {name: getattr(state, name) for name in counts}

  return two_sided(hand_designed, learned, partial(hub, weighting=weighting), diagnostics)

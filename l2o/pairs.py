"""HUB and LGL2O as rules: their theta is that of both sides."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import optax

from l2o.arguments import Count
from l2o.build import build
from l2o.guard import GuardState, lgl2o
from l2o.hub import HubState, hub
from l2o.hub_weightings import Weighting
from l2o.types import LearnedRule, Metrics, Params, PyTree, Theta

Wrap = Callable[..., optax.GradientTransformationExtraArgs]


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
    InputError: as `l2o.rule` and `l2o.hub`.

  Example:
    >>> import jax.numpy as jnp
    >>> adam = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 0.1}
    >>> rule = hub_rule(adam, {'name': 'l3rs'}, weighting='inverted')
    >>> params = {'w': jnp.ones(3)}
    >>> tx = rule.bind(rule.init(jax.random.key(0), params), num_steps=10)
    >>> updates, state = tx.update(params, tx.init(params), params, value=jnp.array(0.7))
    >>> [round(w, 3) for w in rule.facts(state)['weight_mean'].tolist()]
    [0.667]
  """

  def facts(state: HubState) -> Metrics:
    statistics = {f'weight_{name}': x for name, x in state.weights._asdict().items()}
    counts = ('nonfinite_hand_designed', 'nonfinite_learned')
    return statistics | {name: getattr(state, name) for name in counts}

  return _pair(hand_designed, learned, partial(hub, weighting=weighting), facts)


def lgl2o_rule(
  hand_designed: Mapping[str, Any], learned: Mapping[str, Any], period: Count = 1
) -> LearnedRule:
  """`l2o.lgl2o` of two rules, with theta = {'hand_designed': …, 'learned': …}.

  Args:
    hand_designed: name and arguments of a rule, which may be a `hub`.
    learned: likewise.
    period: as `l2o.lgl2o` takes it.

  Raises:
    InputError: as `l2o.rule` and `l2o.lgl2o`.
  """

  def facts(state: GuardState) -> Metrics:
    return {
      name: getattr(state, name) for name in ('taken_hand_designed', 'taken_learned', 'skipped')
    }

  return _pair(hand_designed, learned, partial(lgl2o, period=period), facts)


def _pair(
  hand_designed: Mapping[str, Any],
  learned: Mapping[str, Any],
  wrap: Wrap,
  facts: Callable[[Any], Metrics],
) -> LearnedRule:
  from l2o.rules import RULES  # which names this module

  rules = {
    side: build(RULES, spec, 'rule')
    for side, spec in (('hand_designed', hand_designed), ('learned', learned))
  }
  wrap(optax.identity(), optax.identity())  # a wrong argument shows

  def init(key: jax.Array, params: Params) -> Theta:
    return {side: rule.init(key, params) for side, rule in rules.items()}

  def bind(theta: Theta, num_steps: Any) -> optax.GradientTransformationExtraArgs:
    return wrap(*(rule.bind(theta[side], num_steps) for side, rule in rules.items()))

  def all_facts(state: PyTree) -> Metrics:
    found = dict(facts(state))
    for side, rule in rules.items():
      found |= {f'{side}/{name}': x for name, x in rule.facts(getattr(state, side)).items()}
    return found

  def adapt(theta: Theta, params: Params, on_mismatch: str = 'error') -> Theta:
    return {side: rules[side].adapt(theta[side], params, on_mismatch=on_mismatch) for side in rules}

  return LearnedRule(init, bind, all_facts, adapt)

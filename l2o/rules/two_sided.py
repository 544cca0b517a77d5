"""Rules that wrap two other rules: their theta holds the thetas of both sides."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from l2o.registry import build
from l2o.rules import RULES
from l2o.types import Horizon, LearnedRule, Metrics, Params, PyTree, Theta

Wrap = Callable[..., optax.GradientTransformationExtraArgs]


def two_sided(
  hand_designed: Mapping[str, Any],
  learned: Mapping[str, Any],
  wrap: Wrap,
  diagnostics: Callable[[Any], Metrics],
) -> LearnedRule:
  """A rule around two others, with theta = {'hand_designed': …, 'learned': …}.

  Args:
    hand_designed: name and arguments of a rule.
    learned: likewise.
    wrap: two transformations -> one, whose state holds theirs as `hand_designed` and `learned`.
    diagnostics: reads that state; the sides' own are added, under their names.

  Raises:
    InputError: as in `l2o.rule` and `wrap`.

  Example:
    >>> from l2o.rules.hub import hub
    >>> sgd = {'name': 'hand_designed', 'optimizer': 'sgd'}
    >>> rule = two_sided(sgd, {'name': 'l3rs'}, hub, diagnostics=lambda state: {})
    >>> sorted(rule.init(jax.random.key(0), {'w': jax.numpy.ones(3)}))
    ['hand_designed', 'learned']
  """
  rules = {
    side: build(RULES, spec, 'rule')
    for side, spec in (('hand_designed', hand_designed), ('learned', learned))
  }
  wrap(optax.identity(), optax.identity())  # raises now if an argument is wrong

  def init(key: jax.Array, params: Params) -> Theta:
    return {side: rule.init(key, params) for side, rule in rules.items()}

  def bind(theta: Theta, num_steps: Horizon) -> optax.GradientTransformationExtraArgs:
    return wrap(*(rule.bind(theta[side], num_steps) for side, rule in rules.items()))

  def all_diagnostics(state: PyTree) -> Metrics:
    found = dict(diagnostics(state))
    for side, rule in rules.items():
      found |= {f'{side}/{name}': x for name, x in rule.diagnostics(getattr(state, side)).items()}
    return found

  def retarget(theta: Theta, params: Params, on_mismatch: str = 'error') -> Theta:
    return {
      side: rules[side].retarget(theta[side], params, on_mismatch=on_mismatch) for side in rules
    }

  return LearnedRule(init, bind, all_diagnostics, retarget)

"""The rows of a meta-evaluation: the learned optimizer, and the baselines with their grids."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from l2o.errors import InputError
from l2o.registry import build as build_from
from l2o.registry import call
from l2o.rules import RULES
from l2o.rules.rated import rated
from l2o.types import LearnedRule, Params, Theta
from reports import results
from trainers.checks import blocks


class Row(NamedTuple):
  """Settings that share a compiled program: a family's learning rates, or one learned optimizer."""

  family: str
  settings: Sequence[str]  # one per theta: the learning rates of a grid, or ''
  rule: LearnedRule
  thetas: Theta  # leaves [settings, ...]
  hand_designed: bool

  @property
  def is_grid(self) -> bool:
    """Whether there are settings to choose from."""
    return len(self.settings) > 1

  def names(self, tuning_tasks: int) -> list[str]:
    """The settings' names in tables; a tuned grid has one."""
    if tuning_tasks and self.is_grid:
      return [self.family]
    return [results.label(self.family, setting) for setting in self.settings]


def at_setting(thetas: Theta, number: jax.Array) -> Theta:
  """The thetas [1, ...] of one setting, by its number []."""
  return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, number, 1), thetas)


def label(rule: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
  """The name of the learned row: the rule's name, or that of its file.

  Args:
    rule: the config's `rule` block.
    taken: baselines by name.

  Raises:
    InputError: a baseline has the same name.
  """
  name = rule['name']
  if name == 'artifact':
    stem = pathlib.Path(rule['path']).stem
    name = name if stem in taken else stem
  if name in taken:
    raise InputError(
      f'meta_evaluate.baselines.{name} has the name of the learned optimizer; rename it'
    )
  return name


def baseline(name: str, block: blocks.Baseline, params: Params, seed: int) -> Row:
  """The row of a baseline.

  Args:
    name: its name in the config.
    block: its block.
    params: shapes of the parameters it trains.
    seed: seed of its theta, if it has no grid.

  Raises:
    InputError: its rule cannot be built, or its grid does not fit the rule.
  """
  where, rates = f'meta_evaluate.baselines.{name}', block.learning_rates
  rule = call(_rule, {'rule': block.rule}, where)
  by_hand = block.rule.get('name') == 'hand_designed'
  if not rates:
    theta = jax.jit(lambda key: rule.init(key, params))(jax.random.key(seed))
    return Row(name, [''], rule, jax.tree.map(lambda x: x[None], theta), by_hand)
  if 'learning_rate' in block.rule:
    raise InputError(
      f'{where} has learning_rates, so its rule must not set learning_rate; leave out one of them'
    )
  thetas = {'learning_rate': np.asarray(rates, np.float32)}
  if not by_hand:
    try:
      rule = rated(block.rule)
    except InputError as error:
      raise InputError(f'{where}: {error}') from error
    own = jax.jit(lambda key: rule.init(key, params)['rule'])(jax.random.key(seed))
    thetas['rule'] = jax.tree.map(lambda x: np.broadcast_to(x, (len(rates), *x.shape)), own)
  return Row(name, [f'{rate:g}' for rate in rates], rule, thetas, by_hand)


def _rule(rule: Mapping[str, Any]) -> LearnedRule:
  return build_from(RULES, rule, 'rule')

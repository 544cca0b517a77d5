"""Trains only the head of a network: every other parameter is frozen."""

from collections.abc import Hashable
from functools import partial
from typing import Any

import jax
import optax

from l2o.errors import InputError
from l2o.registry import build
from l2o.rules import RULES
from l2o.rules.contract import ANY, strict
from l2o.trees import layer_paths
from l2o.types import Horizon, LearnedRule, Metrics, Params, PyTree, Theta


def head_only(rule: Any, head: str = 'head') -> LearnedRule:
  """A rule that trains only the head, with another rule that sees nothing else.

  Args:
    rule: name and arguments of that rule, `{'name': 'velo'}`.
    head: path of the head's module, such as 'head' or 'decoder/head'.

  Raises:
    InputError: as for that rule; at `init` of the bound rule, no layer below `head`.

  Example:
    >>> import jax.numpy as jnp
    >>> sgd = {'name': 'hand_designed', 'optimizer': 'sgd'}
    >>> params = {'body': jnp.array([1.0]), 'head': jnp.array([1.0])}
    >>> tx = head_only(sgd).bind({'learning_rate': 0.5}, num_steps=10)
    >>> tx.update(params, tx.init(params), params, value=0.0)[0]
    {'body': Array([0.], dtype=float32), 'head': Array([-0.5], dtype=float32)}
  """
  return train_head(build(RULES, rule, 'rule'), head)


def train_head(rule: LearnedRule, head: str) -> LearnedRule:
  """`head_only` for a rule that is already built."""

  def init(key: jax.Array, params: Params) -> Theta:
    return rule.init(key, only_head(head, params))

  def bind(theta: Theta, num_steps: Horizon) -> optax.GradientTransformationExtraArgs:
    parts: dict[Hashable, optax.GradientTransformation] = {
      'trained': rule.bind(theta, num_steps),
      'frozen': optax.set_to_zero(),
    }
    tx = optax.partition(parts, partial(_labels, head))
    return strict('head_only', tx.init, tx.update, trains=ANY)

  def diagnostics(state: PyTree) -> Metrics:
    return rule.diagnostics(_trained_state(state))

  def retarget(theta: Theta, params: Params, on_mismatch: str = 'error') -> Theta:
    return rule.retarget(theta, only_head(head, params), on_mismatch=on_mismatch)

  def eval_params(state: PyTree, params: Params) -> Params:
    read = rule.eval_params(_trained_state(state), only_head(head, params))
    return jax.tree.map(
      lambda x, trained: x if isinstance(trained, optax.MaskedNode) else trained, params, read
    )

  return LearnedRule(init, bind, diagnostics, retarget, eval_params)


def _trained_state(state: PyTree) -> PyTree:
  return state.inner_states['trained'].inner_state


def only_head(head: str, params: Params) -> Params:
  """The parameters with `optax.MaskedNode` in place of the frozen ones."""
  return jax.tree.map(
    lambda label, x: x if label == 'trained' else optax.MaskedNode(), _labels(head, params), params
  )


def _labels(head: str, params: Params) -> PyTree:
  """'trained' for layers whose path is `head` or goes through it, 'frozen' for the others."""
  paths = layer_paths(params)
  labels = ['trained' if f'{path}/'.startswith(f'{head}/') else 'frozen' for path in paths]
  if 'trained' not in labels:
    depth = head.count('/') + 1
    there = sorted({'/'.join(path.split('/')[:depth]) for path in paths})
    raise InputError(
      f'there is no head {head!r} to train alone; layers and modules: {", ".join(there) or "none"}'
    )
  return jax.tree.unflatten(jax.tree.structure(params), labels)

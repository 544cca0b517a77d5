"""Traces steps with shapes only, to catch mismatches before anything is computed."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from l2o.errors import InputError, first_line
from l2o.types import LearnedRule, Params, PyTree, Theta


@contextlib.contextmanager
def said_of(what: str) -> Iterator[None]:
  """Turns any exception from a part of the run into a one-sentence InputError.

  Example:
    >>> with said_of('model'):
    ...   1 / 0
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: model: division by zero
  """
  try:
    yield
  except InputError:
    raise
  except Exception as error:  # a network or an optimizer may raise anything
    raise InputError(f'{what}: {first_line(error)}') from error


def try_rule(
  rule: LearnedRule, theta: Theta | None, params: Params, what: str, compares: bool = True
) -> None:
  """Traces one update of a rule on parameters of these shapes.

  Args:
    rule: the optimizer.
    theta: its meta-parameters or their shapes; None to use `init`.
    params: shapes of the parameters.
    what: name of the rule, for the error message.
    compares: whether the loop can evaluate the loss of each proposal, which LGL2O needs.

  Raises:
    InputError: the rule does not fit these parameters.
  """

  def step(theta: Theta, params: Params) -> PyTree:
    tx = rule.bind(theta, 10)
    state = tx.init(params)
    loss = jnp.zeros(())
    functions: dict[str, Any] = {}
    if compares:
      functions = {'value_fn': lambda p: loss, 'value_and_grad_fn': lambda p: (loss, p)}
    _, state = tx.update(params, state, params, value=loss, **functions)
    return rule.diagnostics(state), rule.eval_params(state, params)

  with said_of(what):
    if theta is None:
      theta = jax.eval_shape(rule.init, jax.random.key(0), params)
    jax.eval_shape(step, theta, params)

"""Hand-designed optimizers as rules whose theta is the learning rate.

So a grid of settings is a stack of thetas, mapped over like a population: one program a family.
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import optax

from l2o.build import check_arguments, choose
from l2o.errors import InputError
from l2o.types import LearnedRule, Params, Theta

OPTIMIZERS = ('adam', 'sgd')
SCHEDULES = ('constant', 'cosine')
TRAINABLE = ('all', 'head')


def learning_rate_schedule(name: str, learning_rate: Any, num_steps: Any) -> optax.Schedule:
  """A learning-rate schedule that takes traced values, unlike optax's own.

  constant: lr; cosine: lr (1 + cos(pi k / K)) / 2, with k the number of steps done, at most K.

  Example:
    >>> round(float(learning_rate_schedule('cosine', 0.1, 4)(2)), 6)
    0.05
  """
  if choose(name, SCHEDULES, 'schedule') == 'constant':
    return lambda count: jnp.asarray(learning_rate, jnp.float32)

  def cosine(count: Any) -> jax.Array:
    progress = jnp.minimum(count, num_steps) / num_steps
    return 0.5 * learning_rate * (1.0 + jnp.cos(jnp.pi * progress))

  return cosine


def hand_designed(
  optimizer: str,
  schedule: str = 'constant',
  trainable: str = 'all',
  head: str = 'head',
  **kwargs: Any,
) -> LearnedRule:
  """An optax optimizer as a rule with theta = `{'learning_rate': []}`.

  Args:
    optimizer: 'adam' or 'sgd'.
    schedule: 'constant', or 'cosine' to zero at step K.
    trainable: 'all', or 'head' to freeze every parameter outside the head.
    head: name of the head's module, the first part of its parameters' paths.
    **kwargs: further arguments of the optax optimizer.

  Raises:
    InputError: a name that is not among the choices, an argument the optimizer does not take.

  Example:
    >>> rule = hand_designed('sgd')
    >>> tx = rule.bind({'learning_rate': 0.5}, num_steps=10)
    >>> params = {'head': jnp.array([1.0])}
    >>> tx.update({'head': jnp.array([2.0])}, tx.init(params), params, value=0.0)[0]
    {'head': Array([-1.], dtype=float32)}
  """
  factory = getattr(optax, choose(optimizer, OPTIMIZERS, 'optimizer'))
  choose(schedule, SCHEDULES, 'schedule')
  choose(trainable, TRAINABLE, 'set of trainable parameters')
  if 'learning_rate' in kwargs:
    raise InputError(f'the learning rate of {optimizer} is its theta, not an argument')
  check_arguments(factory, kwargs, optimizer)
  default = inspect.signature(factory).parameters['learning_rate'].default
  start = 1e-3 if default is inspect.Parameter.empty else default

  def init(key: jax.Array, params: Params) -> Theta:
    del key, params
    return {'learning_rate': jnp.asarray(start, jnp.float32)}

  def bind(theta: Theta, num_steps: Any) -> optax.GradientTransformationExtraArgs:
    tx = factory(learning_rate_schedule(schedule, theta['learning_rate'], num_steps), **kwargs)
    if trainable == 'head':
      tx = optax.partition(
        {'trained': tx, 'frozen': optax.set_to_zero()}, lambda params: _labels(params, head)
      )
    return optax.with_extra_args_support(tx)

  return LearnedRule(init, bind)


def _labels(params: Params, head: str) -> Params:
  """'trained' on the leaves below `head`, 'frozen' on the others."""
  if head not in params:
    raise InputError(f'there is no head {head!r} to train alone; modules: {", ".join(params)}')
  return {
    name: jax.tree.map(lambda _, n=name: 'trained' if n == head else 'frozen', block)
    for name, block in params.items()
  }

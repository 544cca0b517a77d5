"""Hand-designed optimizers as rules whose theta is the learning rate.

So a grid of settings is a stack of thetas, mapped over like a population: one program a family.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from l2o.build import check_arguments, check_bounds, choose
from l2o.errors import InputError
from l2o.head_only import train_head
from l2o.types import LearnedRule, Params, PyTree, Theta, keep_params

# name -> optax's factory, which takes the learning rate first.
OPTIMIZERS: dict[str, Callable[..., Any]] = {
  'adam': optax.adam,  # Kingma & Ba, arXiv 1412.6980
  'adamax': optax.adamax,  # the same, sec. 7.1
  'adamw': optax.adamw,  # Loshchilov & Hutter, arXiv 1711.05101
  'lamb': optax.lamb,  # You et al., arXiv 1904.00962
  'lion': optax.lion,  # Chen et al., arXiv 2302.06675
  'momentum': partial(optax.sgd, momentum=0.9),  # Polyak, 1964: heavy ball
  'prodigy': optax.contrib.prodigy,  # Mishchenko & Defazio, arXiv 2306.06101
  'schedule_free_adamw': optax.contrib.schedule_free_adamw,  # Defazio et al., arXiv 2405.15682
  'sgd': optax.sgd,
}
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
  learning_rate: float | None = None,
  **kwargs: Any,
) -> LearnedRule:
  """An optax optimizer as a rule with theta = `{'learning_rate': []}`, computed in float32.

  'prodigy' estimates its own step size, which theta multiplies: 1 unless tuned.
  'schedule_free_adamw' trains y and is judged by the average x, its `readout`; its `warmup_steps`
  are steps, not a share of K. Statistics that a network gathers in training are those at y.

  Args:
    optimizer: one of `OPTIMIZERS`.
    schedule: 'constant', or 'cosine' to zero at step K.
    trainable: 'all', or 'head' to freeze every parameter outside the head.
    head: path of the head's module, such as 'head' or 'decoder/head'.
    learning_rate: what theta begins with; by default optax's own, or 1e-3.
    **kwargs: further arguments of the optax optimizer.

  Raises:
    InputError: a name that is not among the choices, an argument the optimizer does not take, a
      schedule for the schedule-free; at `init` of a bound rule, no layer below `head`.

  Example:
    >>> rule = hand_designed('sgd', trainable='head', head='decoder/head')
    >>> tx = rule.bind({'learning_rate': 0.5}, num_steps=10)
    >>> params = {'decoder': {'head': jnp.array([1.0]), 'body': jnp.array([1.0])}}
    >>> tx.update(params, tx.init(params), params, value=0.0)[0]
    {'decoder': {'body': Array([0.], dtype=float32), 'head': Array([-0.5], dtype=float32)}}
  """
  _check(optimizer, schedule, trainable, kwargs)
  factory = OPTIMIZERS[optimizer]
  schedule_free = optimizer == 'schedule_free_adamw'
  default = inspect.signature(factory).parameters['learning_rate'].default
  start = 1e-3 if default is inspect.Parameter.empty else default
  start = start if learning_rate is None else learning_rate

  def init(key: jax.Array, params: Params) -> Theta:
    del key, params
    return {'learning_rate': jnp.asarray(start, jnp.float32)}

  def bind(theta: Theta, num_steps: Any) -> optax.GradientTransformationExtraArgs:
    rate = learning_rate_schedule(schedule, theta['learning_rate'], num_steps)
    # The schedule-free one makes a schedule itself, its warm-up, and wants the number.
    tx = factory(rate(0) if schedule_free else rate, **kwargs)
    return _in_float32(tx)

  rule = LearnedRule(init, bind, readout=_averages if schedule_free else keep_params)
  return train_head(rule, head) if trainable == 'head' else rule


def _check(optimizer: str, schedule: str, trainable: str, kwargs: Mapping[str, Any]) -> None:
  choose(optimizer, OPTIMIZERS, 'optimizer')
  choose(schedule, SCHEDULES, 'schedule')
  choose(trainable, TRAINABLE, 'set of trainable parameters')
  check_arguments(OPTIMIZERS[optimizer], kwargs, optimizer)
  if optimizer == 'schedule_free_adamw':
    if schedule != 'constant':
      raise InputError(f'{optimizer} averages instead of decaying: its schedule must be constant')
    check_bounds({'b1': 0.9, **kwargs}, optimizer, above={'b1': 0})  # x = (y - (1 - b1) z) / b1


def _in_float32(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
  """Computes in float32 at least; the updates are in the parameters' dtype.

  In bfloat16 the factor 0.999 of a moving average is 1: it would never forget.
  """
  tx = optax.with_extra_args_support(tx)

  def wide(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x, jnp.float32)), tree)

  def init(params: Params) -> PyTree:
    # A copy: Prodigy keeps the starting point, and a donated buffer must not be given twice.
    return tx.init(jax.tree.map(jnp.copy, wide(params)))

  def update(grads: PyTree, state: PyTree, params: Params | None = None, **extra: Any) -> tuple:
    updates, state = tx.update(wide(grads), state, wide(params), **extra)
    like = grads if params is None else params
    return jax.tree.map(lambda u, x: jnp.asarray(u, jnp.result_type(x)), updates, like), state

  return optax.GradientTransformationExtraArgs(init, update)


def _averages(state: PyTree, params: Params) -> Params:
  """x of schedule-free training, in the parameters' dtype."""
  averages = optax.contrib.schedule_free_eval_params(state, params)
  return jax.tree.map(lambda y, x: jnp.asarray(x, jnp.result_type(y)), params, averages)

"""Hand-designed optimizers as rules whose theta is the learning rate.

A grid of settings is then a stack of thetas, mapped over like a population: one program per family.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from l2o.arguments import Positive, checked
from l2o.errors import InputError
from l2o.optax_optimizers import muon
from l2o.registry import check_arguments, check_bounds, choose
from l2o.rules.contract import REAL_OR_COMPLEX, check_horizon, strict
from l2o.rules.head_only import train_head
from l2o.rules.hyper_parameters import check_hyper_parameters
from l2o.rules.schedules import schedule as build_schedule
from l2o.types import Horizon, LearnedRule, Params, PyTree, Theta, keep_params

# name -> optax's factory, which takes the learning rate first.
OPTIMIZERS: dict[str, Callable[..., Any]] = {
  'adafactor': optax.adafactor,  # Shazeer & Stern, arXiv 1804.04235; steps relative to weights
  'adam': optax.adam,  # Kingma & Ba, arXiv 1412.6980
  'adamax': optax.adamax,  # the same, sec. 7.1
  'adamw': optax.adamw,  # Loshchilov & Hutter, arXiv 1711.05101
  'ademamix': optax.contrib.ademamix,  # Pagliardini et al., arXiv 2409.03137
  'lamb': optax.lamb,  # You et al., arXiv 1904.00962
  'lion': optax.lion,  # Chen et al., arXiv 2302.06675
  'momentum': partial(optax.sgd, momentum=0.9),  # Polyak, 1964: heavy ball
  'muon': muon,  # Jordan, 2024; kernels as matrices, NAdamW for vectors
  'nadamw': optax.nadamw,  # Dozat, 2016, with AdamW's decay
  'prodigy': optax.contrib.prodigy,  # Mishchenko & Defazio, arXiv 2306.06101
  'schedule_free_adamw': optax.contrib.schedule_free_adamw,  # Defazio et al., arXiv 2405.15682
  'sgd': optax.sgd,
}
TRAINABLE = ('all', 'head')


@checked
def hand_designed(
  optimizer: str,
  schedule: str | Mapping[str, Any] = 'constant',
  trainable: str = 'all',
  head: str = 'head',
  learning_rate: Positive | None = None,
  **kwargs: Any,
) -> LearnedRule:
  """An optax optimizer as a rule with theta = `{'learning_rate': []}`, computed in float32.

  'prodigy' estimates its own step size, which theta multiplies: 1 unless tuned.
  'schedule_free_adamw' trains y and is evaluated at the average x, its `eval_params`; its
  `warmup_steps` are steps, not a fraction of K. Statistics that a network gathers in training are
  taken at y.

  Args:
    optimizer: one of `OPTIMIZERS`.
    schedule: learning-rate schedule, a name in `l2o.rules.schedules` or a block with arguments.
    trainable: 'all', or 'head' to freeze every parameter outside the head.
    head: path of the head's module, such as 'head' or 'decoder/head'.
    learning_rate: the initial theta; by default optax's own, or 1e-3.
    **kwargs: further arguments of the optax optimizer.

  Raises:
    InputError: a name that is not among the choices, an argument the optimizer does not take, a
      schedule for the schedule-free optimizer; at `init` of a bound rule, no layer below `head`.

  Example:
    >>> rule = hand_designed('sgd', trainable='head', head='decoder/head')
    >>> tx = rule.bind({'learning_rate': 0.5}, num_steps=10)
    >>> params = {'decoder': {'head': jnp.array([1.0]), 'body': jnp.array([1.0])}}
    >>> tx.update(params, tx.init(params), params, value=0.0)[0]
    {'decoder': {'body': Array([0.], dtype=float32), 'head': Array([-0.5], dtype=float32)}}
  """
  _check(optimizer, schedule, trainable, kwargs)
  shape = build_schedule(schedule)
  factory = OPTIMIZERS[optimizer]
  schedule_free = optimizer == 'schedule_free_adamw'
  default = inspect.signature(factory).parameters['learning_rate'].default
  start = 1e-3 if default in (inspect.Parameter.empty, None) else default
  start = start if learning_rate is None else learning_rate

  def init(key: jax.Array, params: Params) -> Theta:
    del key, params
    return {'learning_rate': jnp.asarray(start, jnp.float32)}

  def bind(theta: Theta, num_steps: Horizon) -> optax.GradientTransformationExtraArgs:

    check_horizon(optimizer, num_steps)

    def rate(count: Any) -> jax.Array:
      return theta['learning_rate'] * shape(count, num_steps)

    # The schedule-free optimizer builds its own warm-up and takes a number.
    tx = factory(rate(0) if schedule_free else rate, **kwargs)
    return _in_float32(optimizer, tx)

  rule = LearnedRule(init, bind, eval_params=_averages if schedule_free else keep_params)
  return train_head(rule, head) if trainable == 'head' else rule


def _check(optimizer: str, schedule: Any, trainable: str, kwargs: Mapping[str, Any]) -> None:
  choose(optimizer, OPTIMIZERS, 'optimizer')
  choose(trainable, TRAINABLE, 'set of trainable parameters')
  check_arguments(OPTIMIZERS[optimizer], kwargs, optimizer)
  check_hyper_parameters(kwargs, optimizer)
  if optimizer == 'schedule_free_adamw':
    if schedule != 'constant':
      raise InputError(f'{optimizer} averages instead of decaying: its schedule must be constant')
    check_bounds({'b1': 0.9, **kwargs}, optimizer, above={'b1': 0})  # x = (y - (1 - b1) z) / b1


def _in_float32(
  name: str, tx: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
  """Computes in at least float32; the updates are in the parameters' dtype.

  In bfloat16 the decay 0.999 rounds to 1, and a moving average would never forget.
  """
  tx = optax.with_extra_args_support(tx)

  def wide(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x, jnp.float32)), tree)

  def init(params: Params) -> PyTree:
    return tx.init(wide(params))

  def update(
    grads: PyTree, state: PyTree, params: Params | None = None, **extra: Any
  ) -> tuple[PyTree, PyTree]:
    updates, state = tx.update(wide(grads), state, wide(params), **extra)
    like = grads if params is None else params
    return jax.tree.map(lambda u, x: jnp.asarray(u, jnp.result_type(x)), updates, like), state

  return strict(name, init, update, trains=REAL_OR_COMPLEX)


def _averages(state: PyTree, params: Params) -> Params:
  """x of schedule-free training, in the parameters' dtype."""
  averages = optax.contrib.schedule_free_eval_params(state, params)
  return jax.tree.map(lambda y, x: jnp.asarray(x, jnp.result_type(y)), params, averages)

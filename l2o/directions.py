"""Base optimizers as sources of directions, with hyper-parameters that can be meta-learned.

A direction is the update of an optax optimizer at learning rate 1: already a descent direction,
of which a learned rule uses only the direction and, as a feature, the norm.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from l2o.build import check_arguments, choose
from l2o.errors import InputError
from l2o.types import PyTree

# Hyper-parameters that are part of theta unless the config says otherwise.
LEARNABLE = {'adam': ('b1', 'b2')}
CHOICES = ('adam', 'sgd')


class Direction(NamedTuple):
  """A base optimizer of a learned rule."""

  name: str
  init: Callable[[], dict[str, Any]]  # () -> {hyper-parameter: []}, all zero: the default
  bind: Callable[[PyTree], optax.GradientTransformation]  # hyper-parameters -> transformation


def direction(spec: str | Mapping[str, Any]) -> Direction:
  """Builds a base optimizer from its name, or from `{'name', 'learnable', **keyword arguments}`.

  A learnable hyper-parameter with default p in (0, 1) is used as sigmoid(logit(p) + x): it stays
  in (0, 1) whatever the x that meta-training tries, and x = 0 is the default.

  Args:
    spec: 'adam', or for example `{'name': 'adam', 'b1': 0.95, 'learnable': ('b2',)}`.

  Raises:
    InputError: unknown optimizer or argument, or a learnable one that is not in (0, 1).

  Example:
    >>> adam = direction('adam')
    >>> sorted(adam.init())
    ['b1', 'b2']
    >>> tx = adam.bind(adam.init())
    >>> updates, _ = tx.update(jnp.array([2.0]), tx.init(jnp.array([1.0])))
    >>> round(float(updates[0]), 4)
    -1.0
  """
  arguments: dict[str, Any] = {'name': spec} if isinstance(spec, str) else dict(spec)
  name = choose(arguments.pop('name', '(no name)'), CHOICES, 'direction')
  if 'learning_rate' in arguments:
    raise InputError(f'the direction {name} has no learning_rate: only its direction is used')
  learnable = tuple(arguments.pop('learnable', LEARNABLE.get(name, ())))
  factory = getattr(optax, name)
  check_arguments(factory, (*arguments, *learnable), name)
  defaults = {h: _default(factory, name, h, arguments) for h in learnable}

  def init() -> dict[str, Any]:
    return {h: jnp.zeros((), jnp.float32) for h in learnable}

  def bind(hyper: PyTree) -> optax.GradientTransformation:
    learned = {h: _unit_interval(default, hyper[h]) for h, default in defaults.items()}
    return factory(learning_rate=1.0, **(arguments | learned))

  return Direction(name, init, bind)


def _default(factory: Callable[..., Any], name: str, hyper: str, arguments: dict) -> float:
  value = arguments.get(hyper, inspect.signature(factory).parameters[hyper].default)
  if not (isinstance(value, float) and 0.0 < value < 1.0):
    raise InputError(f'{name}.{hyper} = {value} cannot be learned: its default is not in (0, 1)')
  return value


def _unit_interval(default: float, offset: Any) -> Any:
  """sigmoid(logit(default) + offset), without the logit's loss of precision near 1."""
  odds = jnp.exp(-offset)
  return default / (default + (1.0 - default) * odds)

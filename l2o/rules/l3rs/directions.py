"""Base optimizers as sources of directions, with hyper-parameters that can be meta-learned.

A direction is the update of an optax optimizer at learning rate 1: already a descent direction. A
learned rule uses only its unit vector and, as a feature, its norm. Any optimizer of
`optax` or `optax.contrib` can be used, by its name there. Optimizers that rely on their own step
size (`prodigy`, `schedule_free_adamw`) run, but their directions mean little.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o import optax_optimizers
from l2o.errors import InputError
from l2o.registry import check_arguments, choose
from l2o.rules.hyper_parameters import check_hyper_parameters
from l2o.types import Params, PyTree


class Bound(NamedTuple):
  """A base optimizer with its hyper-parameters fixed.

  A rule needs a direction twice: for its norm and, once the network has seen the norms, for the
  step. `emit` is cheap enough to be run twice instead of storing its result. It returns *minus* the
  direction: the gradient for SGD and the parameters for weight decay, whose norms a rule computes
  anyway.
  """

  init: Callable[[Params], PyTree]  # params -> state
  advance: Callable[..., tuple[PyTree, PyTree]]  # (grads, state, params, value) -> (source, state)
  emit: Callable[[PyTree], PyTree]  # source -> minus the direction


class Direction(NamedTuple):
  """A base optimizer of a learned rule, with hyper-parameters still to be given."""

  name: str
  init: Callable[[], dict[str, Any]]  # () -> {hyper-parameter: []}, all zero: the default
  bind: Callable[[PyTree], Bound]  # hyper-parameters -> optimizer


def sgd() -> Bound:
  """The direction of gradient descent: minus the gradient."""
  return Bound(lambda params: (), lambda grads, state, params, value: (grads, state), lambda g: g)


def weight_decay() -> Bound:
  """The direction of weight decay: minus the parameters."""
  return Bound(lambda params: (), lambda grads, state, params, value: (params, state), lambda w: w)


def adam(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> Bound:
  """Adam's direction, -m̂ / sqrt(v̂ + eps²).

  With eps inside the root, unlike Kingma and Ba's (arXiv 1412.6980), it takes one reciprocal root
  and no division; the two differ where v̂ is about eps².

  Args:
    b1: decay of the first moment.
    b2: decay of the second.
    eps: keeps the root away from zero.
  """

  def init(params: Params) -> optax.ScaleByAdamState:
    zeros = jax.tree.map(jnp.zeros_like, params)
    return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

  def advance(
    grads: PyTree, state: optax.ScaleByAdamState, params: Params, value: Any
  ) -> tuple[PyTree, optax.ScaleByAdamState]:
    del params, value
    mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
    # Not g² (1 - b2): the compiler would store g² to share it with the norm of g.
    nu = jax.tree.map(lambda v, g: b2 * v + ((1 - b2) * g) * g, state.nu, grads)
    count = state.count + 1
    mu, nu = jax.lax.optimization_barrier((mu, nu))  # stored, not recomputed by `emit`
    debias = 1 - jnp.float32(b1) ** count, 1 - jnp.float32(b2) ** count
    return (mu, nu, debias), optax.ScaleByAdamState(count, mu, nu)

  def emit(source: PyTree) -> PyTree:
    mu, nu, (first, second) = source
    # Bias corrections as scalar factors: m̂ / sqrt(v̂ + eps²) = m c / sqrt(v + eps² (1 - b2^k)).
    factor, floor = jnp.sqrt(second) / first, eps**2 * second
    return jax.tree.map(lambda m, v: (factor * m) * jax.lax.rsqrt(v + floor), mu, nu)

  return Bound(init, advance, emit)


def _from_optax(tx: optax.GradientTransformation) -> Bound:
  """Any optax optimizer at learning rate 1."""
  tx = optax.with_extra_args_support(tx)

  def advance(grads: PyTree, state: PyTree, params: Params, value: Any) -> tuple[PyTree, PyTree]:
    return jax.lax.optimization_barrier(tx.update(grads, state, params, value=value))

  return Bound(tx.init, advance, lambda updates: jax.tree.map(jnp.negative, updates))


OWN: dict[str, Callable[..., Bound]] = {'adam': adam, 'sgd': sgd, 'weight_decay': weight_decay}
ALIASES = {'momentum': ('sgd', {'momentum': 0.9})}  # for optax's optimizers
# Hyper-parameters that are part of theta unless the config says otherwise.
LEARNABLE: dict[str, tuple[str, ...]] = {
  **dict.fromkeys(('adam', 'adamw', 'adamax', 'lion', 'lamb'), ('b1', 'b2')),
  'momentum': ('momentum',),
}


def direction(spec: str | Mapping[str, Any]) -> Direction:
  """Builds a base optimizer from its name, or from `{'name', 'learnable', **keyword arguments}`.

  A learnable hyper-parameter p is parametrized by an unconstrained x, zero at the default: p in
  (0, 1) becomes sigmoid(logit(p) + x) and stays in (0, 1), any other p > 0 becomes p exp(x).

  Args:
    spec: 'adam', or for example `{'name': 'muon', 'beta': 0.9, 'learnable': ('beta',)}`.

  Raises:
    InputError: an unknown optimizer or argument, one that the optimizer refuses, or a learnable
      one that does not start from a real number above 0.

  Example:
    >>> adam = direction('adam')
    >>> sorted(adam.init())
    ['b1', 'b2']
    >>> bound = adam.bind(adam.init())
    >>> params = jnp.array([1.0])
    >>> source, state = bound.advance(jnp.array([2.0]), bound.init(params), params, value=0.5)
    >>> round(float(bound.emit(source)[0]), 4)  # minus the direction
    1.0
  """
  arguments: dict[str, Any] = {'name': spec} if isinstance(spec, str) else dict(spec)
  name = arguments.pop('name', '(no name)')
  factory = _factory(name)
  if 'learning_rate' in arguments:
    raise InputError(f'the direction {name} has no learning_rate: only its direction is used')
  learnable = tuple(arguments.pop('learnable', LEARNABLE.get(name, ())))
  check_arguments(factory, (*arguments, *learnable), name)
  check_hyper_parameters(arguments, f'direction {name}')
  defaults = {h: _default(factory, name, h, arguments) for h in learnable}

  def init() -> dict[str, Any]:
    return {h: jnp.zeros((), jnp.float32) for h in learnable}

  def bind(hyper: PyTree) -> Bound:
    learned = {h: _moved(default, hyper[h]) for h, default in defaults.items()}
    if name in OWN:
      return factory(**(arguments | learned))
    return _from_optax(factory(learning_rate=1.0, **(arguments | learned)))

  _try(name, init, bind)
  return Direction(name, init, bind)


def directions() -> list[str]:
  """The names `direction` knows: this module's, and every optimizer of optax.

  Example:
    >>> set(directions()) >= {'sgd', 'adam', 'lion', 'muon', 'weight_decay'}
    True
  """
  return sorted({*optax_optimizers.names(), *OWN, *ALIASES})


def _factory(name: str) -> Callable[..., Any]:
  choose(name, directions(), 'direction')
  if name in OWN:
    return OWN[name]
  theirs, defaults = ALIASES.get(name, (name, {}))
  return partial(optax_optimizers.factory(theirs), **defaults)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
  return inspect.signature(function).parameters


def _try(name: str, init: Callable[[], PyTree], bind: Callable[[PyTree], Bound]) -> None:
  """Takes one step on shapes, so that an optimizer's errors surface now."""

  def step(hyper: PyTree, params: PyTree) -> PyTree:
    bound = bind(hyper)
    source, _ = bound.advance(params, bound.init(params), params, jnp.float32(1.0))
    return bound.emit(source)

  try:
    jax.eval_shape(step, init(), {'w': jnp.ones((2, 3)), 'b': jnp.ones(3)})
  except Exception as error:  # a third-party optimizer may raise anything
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise InputError(f'the direction {name} cannot be used: {reason}') from error


def _default(
  factory: Callable[..., Any], name: str, hyper: str, arguments: Mapping[str, Any]
) -> float:
  value = arguments.get(hyper, _parameters(factory)[hyper].default)
  if not (isinstance(value, float) and 0.0 < value < math.inf):
    raise InputError(
      f'{name}.{hyper} = {value} cannot be learned: only a float above 0 can, such as 0.9; leave '
      f'{hyper} out of learnable'
    )
  return value


def _moved(default: float, offset: Any) -> Any:
  """default exp(offset), or below 1 its odds times exp(offset), which keeps precision near 1."""
  if default >= 1.0:
    return default * jnp.exp(offset)
  odds = jnp.exp(-offset)
  moved = default / (default + (1.0 - default) * odds)
  limits = jnp.finfo(moved.dtype)
  return jnp.clip(moved, limits.tiny, 1.0 - limits.epsneg)  # far out it rounds to 0 or 1

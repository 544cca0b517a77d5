"""optax's optimizers by name, and the optimizer of theta, with a schedule."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import optax
import optax.contrib
from optax.contrib import MuonDimensionNumbers

from l2o.arguments import Count, Positive, checked
from l2o.registry import check_arguments, choose
from l2o.rules.hyper_parameters import check_hyper_parameters
from l2o.rules.schedules import schedule as build_schedule
from l2o.types import PyTree


def _kernels(params: PyTree) -> PyTree:
  """How Muon sees each parameter: kernels as matrices [inputs, outputs], None for vectors."""
  return jax.tree.map(
    lambda x: MuonDimensionNumbers(tuple(range(x.ndim - 1)), x.ndim - 1) if x.ndim > 1 else None,
    params,
  )


# Kernels get steps with the root mean square of Adam's, so that one learning rate fits both: Liu et
# al., arXiv 2502.16982. optax's own default leaves convolutions to Adam.
muon = partial(optax.contrib.muon, muon_weight_dimension_numbers=_kernels, consistent_rms=0.2)


def names() -> list[str]:
  """Every function of `optax` and `optax.contrib` that takes a learning rate.

  Example:
    >>> set(names()) >= {'sgd', 'adam', 'lion', 'muon'}
    True
  """
  return sorted(
    name
    for module in (optax, optax.contrib)
    for name, function in vars(module).items()
    if name[0] != '_'
    and not name.startswith('scale_by_')
    and (inspect.isfunction(function) or isinstance(function, partial))
    and 'learning_rate' in inspect.signature(function).parameters
  )


def factory(name: str) -> Callable[..., Any]:
  """optax's function of that name; 'muon' treats convolution kernels as matrices, too.

  Raises:
    InputError: there is no such function; the message lists the choices.
  """
  choose(name, names(), 'optimizer of optax')
  if name == 'muon':
    return muon
  return getattr(optax, name, None) or getattr(optax.contrib, name)


@checked
def meta_optimizer(
  name: str,
  num_generations: Count = 1,
  learning_rate: Positive = 1e-3,
  schedule: str | Mapping[str, Any] = 'constant',
  **kwargs: Any,
) -> optax.GradientTransformation:
  """The optimizer of theta.

  Args:
    name: one of `names()`.
    num_generations: the horizon of the schedule, in generations.
    learning_rate: its value at the first generation, before any warm-up.
    schedule: learning-rate schedule, a name in `l2o.rules.schedules` or a block with arguments.
    **kwargs: further arguments of the optax optimizer.

  Raises:
    InputError: no such optimizer or schedule, or an argument that it does not take.

  Example:
    >>> import jax.numpy as jnp
    >>> tx = meta_optimizer('sgd', learning_rate=0.5, schedule={'name': 'halving', 'every': 10})
    >>> updates, state = tx.update(jnp.array(2.0), tx.init(jnp.array(3.0)))
    >>> float(updates)
    -1.0
  """
  found = factory(name)
  check_arguments(found, kwargs, f'meta-optimizer {name}')
  check_hyper_parameters(kwargs, f'meta-optimizer {name}')
  shape = build_schedule(schedule)

  def rate(count: Any) -> jax.Array:
    return learning_rate * shape(count, num_generations)

  return found(learning_rate=rate, **kwargs)

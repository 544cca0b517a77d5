"""The effective learning rate of an optimizer's steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.types import Params, PyTree


class Measured(NamedTuple):
  """An optimizer's state, and the effective learning rate of its last step."""

  inner: PyTree
  effective_learning_rate: jax.Array  # [] float32, norm of the update over norm of the gradient


def measured(tx: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
  """The same optimizer, whose state is a `Measured`.

  Args:
    tx: the optimizer.

  Example:
    >>> tx = measured(optax.with_extra_args_support(optax.sgd(0.25)))
    >>> params = jnp.array([3.0, 4.0])
    >>> _, state = tx.update(2 * params, tx.init(params), params)
    >>> float(state.effective_learning_rate)
    0.25
  """

  def init(params: Params) -> Measured:
    return Measured(tx.init(params), jnp.zeros((), jnp.float32))

  def update(grads: PyTree, state: Measured, params: Params | None = None, **extra: Any) -> tuple:
    updates, inner = tx.update(grads, state.inner, params, **extra)
    length, slope = optax.tree.norm(updates), optax.tree.norm(grads)
    rate = jnp.where(slope > 0, length / jnp.where(slope > 0, slope, 1.0), 0.0)
    return updates, Measured(inner, rate.astype(jnp.float32))

  return optax.GradientTransformationExtraArgs(init, update)

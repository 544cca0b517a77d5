"""AdamW, before the learning rate, for the tensors that Celo2's network does not train."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.types import PyTree

B1, B2, EPSILON = 0.9, 0.95, 1e-8


class _Moments(NamedTuple):
  first: PyTree
  second: PyTree


def adamw(weight_decay: float, bias_correction: bool) -> optax.GradientTransformation:
  """Adam's direction plus weight_decay p, with b1 = 0.9, b2 = 0.95, ε = 1e-8.

  Args:
    weight_decay: multiple of the parameters that is added.
    bias_correction: False for the form m (v + ε)^-½, which Celo2 was meta-trained with.

  Example:
    >>> tx = adamw(0.5, bias_correction=False)
    >>> updates, _ = tx.update(jnp.array(2.0), tx.init(jnp.array(4.0)), jnp.array(4.0))
    >>> round(float(updates), 4)  # 0.2 / sqrt(0.2) + 2
    2.4472
  """
  adam = optax.scale_by_adam(B1, B2, EPSILON) if bias_correction else _uncorrected()
  return optax.chain(adam, optax.add_decayed_weights(weight_decay))


def _uncorrected() -> optax.GradientTransformation:
  """optax's Adam has no option to leave out its bias correction."""

  def init(params: PyTree) -> _Moments:
    return _Moments(*(jax.tree.map(jnp.zeros_like, params) for _ in range(2)))

  def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
    del params
    first = optax.tree.update_moment(updates, state.first, B1, 1)
    second = optax.tree.update_moment(updates, state.second, B2, 2)
    steps = jax.tree.map(lambda m, v: m * jax.lax.rsqrt(v + EPSILON), first, second)
    return steps, _Moments(first, second)

  return optax.GradientTransformation(init, update)

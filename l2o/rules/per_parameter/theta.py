"""The thetas of rules with one network for all parameters: their initial values and their use."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from l2o.rules.per_parameter.inputs import BLOCKS
from l2o.rules.per_parameter.mlp import MLP, with_descent
from l2o.rules.per_parameter.shapes import INPUT_LAYERS, TIMES
from l2o.types import Theta


def init_network(key: jax.Array, shapes: Theta) -> Theta:
  """Normal weights of standard deviation fan-in^-½, truncated at twice that; everything else 0.

  Args:
    key: key for the draw.
    shapes: a tree of shapes; its weights have names that begin with `w`, and those of the first
      layer may be several arrays `w0__i`.
  """
  flat, treedef = jax.tree_util.tree_flatten_with_path(shapes, is_leaf=lambda x: type(x) is tuple)

  def draw(path: Sequence[Any], shape: tuple[int, ...], key: jax.Array) -> jax.Array:
    name = path[-1].key
    if not name.startswith('w'):
      return jnp.zeros(shape, jnp.float32)
    fan_in = sum(BLOCKS.values()) if name in INPUT_LAYERS else shape[0]
    return jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32) / fan_in**0.5

  keys = jax.random.split(key, len(flat))
  return jax.tree.unflatten(
    treedef, [draw(path, shape, k) for (path, shape), k in zip(flat, keys, strict=True)]
  )


def descending(layers: Sequence[jax.Array], number: int, descent: float) -> tuple[jax.Array, ...]:
  """A tenth of the given weights, plus weights that compute descent x from an input x.

  Args:
    layers: the weights w0, w1 and w2.
    number: position of x among the inputs.
    descent: factor on x.
  """
  return with_descent([0.1 * w for w in layers], number, descent)


def time_features(step: jax.Array) -> jax.Array:
  """tanh(t / s - 1) on eleven scales s of 1 to 100,000 steps: [11], t counted from 0."""
  return jnp.tanh(step.astype(jnp.float32) / jnp.array(TIMES, jnp.float32) - 1.0)


def with_time(w0: jax.Array, b0: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Moves the time inputs of the first layer [n + 11, h], alike for all entries, into its bias."""
  n = w0.shape[0] - len(TIMES)
  return w0[:n], b0 + time_features(step) @ w0[n:]


def one_mlp(*layers: jax.Array) -> MLP:
  """The MLP of all slabs from its weights and biases, in the order of `MLP`."""
  return MLP(*(layer[None] for layer in layers))

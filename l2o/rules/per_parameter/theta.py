"""The thetas of rules that are one network for all parameters: shapes, and where they begin.

Names are those of the released weights; a key `a/b` there is two nested ones here.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from l2o.rules.per_parameter.inputs import BLOCKS
from l2o.rules.per_parameter.mlp import MLP, with_descent
from l2o.types import Theta

TIMES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)  # steps
MLP_LOPT_INPUTS = 8  # the gradient, the parameter and six momenta
WITHOUT_CLIPPING = {k: n for k, n in BLOCKS.items() if k not in ('clipped_grad', 'scaled_grad')}
INPUT_LAYERS = tuple(f'w0__{i}' for i in range(len(BLOCKS)))


def mlp_lopt_shapes(hidden_size: int) -> Theta:
  """The tree of MLPLOpt's theta with a shape for each leaf.

  Example:
    >>> mlp_lopt_shapes(32)['mlp']['~']['linear_0']
    {'w': (19, 32), 'b': (32,)}
  """
  sizes = MLP_LOPT_INPUTS + len(TIMES), hidden_size, hidden_size, 2
  layers = enumerate(itertools.pairwise(sizes))
  return {'mlp': {'~': {f'linear_{i}': {'w': (n, m), 'b': (m,)} for i, (n, m) in layers}}}


def adafac_mlp_lopt_shapes(hidden_size: int) -> Theta:
  """The tree of AdafacMLPLOpt's theta with a shape for each leaf.

  Example:
    >>> adafac_mlp_lopt_shapes(4)['nn']['~']['w0']
    (39, 4)
  """
  h, inputs = hidden_size, sum(WITHOUT_CLIPPING.values()) + len(TIMES)
  network = {'w0': (inputs, h), 'b0': (h,), 'w1': (h, h), 'b1': (h,), 'w2': (h, 2), 'b2': (2,)}
  decays = {'momentum_decays': (3,), 'rms_decays': (1,), 'adafactor_decays': (3,)}
  return {**decays, 'nn': {'~': network}}


def celo2_shapes(hidden_size: int) -> Theta:
  """The tree of Celo2's theta with a shape for each leaf.

  Example:
    >>> celo2_shapes(8)['ff_mod_stack']['~']['w0__3']
    (3, 8)
  """
  h = hidden_size
  network: Theta = {
    name: (width, h) for name, width in zip(INPUT_LAYERS, BLOCKS.values(), strict=True)
  }
  network |= {'b0': (h,), 'w1': (h, h), 'b1': (h,), 'w2': (h, 3), 'b2': (3,)}
  return {'ff_mod_stack': {'~': network}}


def init_network(key: jax.Array, shapes: Theta) -> Theta:
  """Weights from a normal of deviation fan-in^-½, truncated at twice that; everything else 0.

  Args:
    key: of the draw.
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
  """Weights that compute descent x of an input x, and a tenth of those given.

  Args:
    layers: the weights w0, w1 and w2.
    number: of the input x.
    descent: factor on it.
  """
  return with_descent([0.1 * w for w in layers], number, descent)


def time_features(step: jax.Array) -> jax.Array:
  """tanh(t / s - 1) on eleven scales s of 1 to 100,000 steps: [11], t counted from 0."""
  return jnp.tanh(step.astype(jnp.float32) / jnp.array(TIMES, jnp.float32) - 1.0)


def with_time(w0: jax.Array, b0: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The first layer [n + 11, h] and its bias for inputs without time, which all entries share."""
  n = w0.shape[0] - len(TIMES)
  return w0[:n], b0 + time_features(step) @ w0[n:]


def one_mlp(*layers: jax.Array) -> MLP:
  """The MLP of all slabs from its weights and biases, in the order of `MLP`."""
  return MLP(*(layer[None] for layer in layers))

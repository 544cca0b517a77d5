"""The per-parameter network, with two hidden layers, as elementwise arithmetic."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from l2o.types import PyTree


class MLP(NamedTuple):
  """Weights for n inputs, two layers of h units and o outputs, for each of S tensors or slabs.

  With S = 1, all slabs share them.
  """

  w0: jax.Array  # [S, n, h]
  b0: jax.Array  # [S, h]
  w1: jax.Array  # [S, h, h]
  b1: jax.Array  # [S, h]
  w2: jax.Array  # [S, h, o]
  b2: jax.Array  # [S, o]


def apply_mlp(inputs: Sequence[jax.Array], mlp: MLP, magnitude: float = 0.001) -> jax.Array:
  """out_0 exp(magnitude out_1) of each entry's MLP.

  Args:
    inputs: n arrays [S, *slab], or of length 1 along an axis where they are constant; the first
      has no such axis.
    mlp: the MLP of each slab, or one for all.
    magnitude: see above; at 0 the second output is not computed.

  Returns:
    [S, *slab].
  """
  w0, b0, w1, b1, w2, b2 = (jnp.moveaxis(w, 0, -1) for w in mlp)

  def weight(w: jax.Array) -> jax.Array:
    return per_slab(w, inputs[0])

  hidden = []
  for j in range(len(b0)):
    # Inputs of the same shape are summed first, before they are broadcast against the others.
    sums = {inputs[0].shape: weight(b0[j])}
    for x, w in zip(inputs, w0[:, j], strict=True):
      sums[x.shape] = sums.get(x.shape, 0.0) + weight(w) * x
    hidden.append(jax.nn.relu(sum(sums.values())))
  hidden = [
    jax.nn.relu(sum((weight(w) * x for x, w in zip(hidden, w1[:, j], strict=True)), weight(b1[j])))
    for j in range(len(b1))
  ]
  out = [
    sum((weight(w) * x for x, w in zip(hidden, w2[:, j], strict=True)), weight(b2[j]))
    for j in range(2 if magnitude else 1)
  ]
  return out[0] * jnp.exp(magnitude * out[1]) if magnitude else out[0]


def per_slab(x: jax.Array, like: jax.Array) -> jax.Array:
  """[S] reshaped to broadcast against [S, *slab]."""
  return x.reshape(-1, *(1,) * (like.ndim - 1))


def fenced(
  always: jax.Array, output: Callable[..., jax.Array], otherwise: jax.Array, *arguments: PyTree
) -> jax.Array:
  """`output(*arguments)`, fenced so that the compiler computes it once.

  Otherwise it recomputes an entry's update for each tensor cut out of the group, in programs that
  take a minute to compile. XLA on CPU drops `optimization_barrier` before it fuses, but does not
  fuse across a conditional.

  Args:
    always: [] true, but not a constant.
    output: the computation.
    otherwise: an array like its result, for the other branch, which is never taken.
    *arguments: the computation's arguments.
  """
  return jax.lax.cond(
    always,
    lambda otherwise, *arguments: output(*arguments),
    lambda otherwise, *arguments: otherwise,
    otherwise,
    *arguments,
  )


def with_descent(
  layers: Sequence[jax.Array], number: int, descent: float, mixing: float = 1.0
) -> tuple[jax.Array, ...]:
  """Adds to an MLP's weights the weights of an MLP that computes out_0 = descent x.

  x and -x each go through one unit, since a ReLU passes only one sign.

  Args:
    layers: w0 [..., n, h], w1 [..., h, h] and w2 [..., h, o].
    number: position of the input x among the n.
    descent: factor on x.
    mixing: factor that each layer is multiplied by later.

  Example:
    >>> w0, w1, w2 = with_descent([jnp.zeros(s) for s in ((3, 2), (2, 2), (2, 1))], 1, 5.0)
    >>> x = jnp.array([7.0, -0.2, 1.0])
    >>> jax.nn.relu(jax.nn.relu(x @ w0) @ w1) @ w2
    Array([-1.], dtype=float32)
  """
  w0, w1, w2 = layers
  signs = jnp.array([1.0, -1.0])
  return (
    w0.at[..., number, :2].add(signs / mixing),
    w1.at[..., [0, 1], [0, 1]].add(1.0 / mixing),
    w2.at[..., :2, 0].add(descent * signs / mixing),
  )

"""VeLO's per-parameter part: accumulators, the 30 inputs made of them, and the MLP on each entry.

Arrays are those of a group of tensors (`l2o.tensor_groups`): [S, d1, d0] for S slabs, or [S] for
joined vectors. Each of the 30 inputs is an array of its own, never a channel of one, and the MLP is
elementwise arithmetic between them: products over an axis of 1 to 4 channels are what made
this optimizer slow. Source: arXiv 2211.09760, as in `l2o.velo_network`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from l2o.tensor_groups import Group, spread, tensor_means
from l2o.types import PyTree
from l2o.velo_network import HIDDEN, MLP

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
SECOND_DECAY = 0.999
FACTORED_DECAYS = (0.9, 0.99, 0.999)
MOMENTA = slice(3, 7)  # the momenta and the second moment among the inputs
BLOCK = 2**18  # entries of which statistics are taken at a time


class Accumulators(NamedTuple):
  """Moving averages of a group's gradients: about four times the size of its parameters."""

  momenta: tuple[jax.Array, ...]  # 3 x [S, *slab] float32
  second: jax.Array  # [S, *slab] float32, of the squares
  row: jax.Array  # [3, S, d1] float32, of the squares' means over d0; [3, S] for vectors: of them
  col: jax.Array  # [3, S, d0] float32, of the squares' means over d1; [3, 0] for vectors


class Means(NamedTuple):
  """Of a group's gradients and parameters."""

  row: jax.Array  # [S, d1] of the squared gradients over d0; [S] for vectors: themselves
  col: jax.Array  # [S, d0] of the squared gradients over d1; [0] for vectors
  grad: jax.Array  # [S] of the gradients
  param: jax.Array  # [S] of the squared parameters


class Moments(NamedTuple):
  """Of each tensor's three momenta and its second moment, in this order."""

  mean: jax.Array  # [tensors, 4] float32
  var: jax.Array  # [tensors, 4] float32


def init_accumulators(group: Group) -> Accumulators:
  """Zeros."""
  S, *slab = group.shape
  d1, d0 = ((n,) for n in slab) if slab else ((), None)
  return Accumulators(
    tuple(jnp.zeros(group.shape) for _ in MOMENTUM_DECAYS),
    jnp.zeros(group.shape),
    jnp.zeros((len(FACTORED_DECAYS), S, *d1)),
    jnp.zeros((len(FACTORED_DECAYS), *((S, *d0) if d0 else (0,)))),
  )


def first_look(grads: jax.Array, params: jax.Array) -> Means:
  """What is wanted of gradients and parameters [S, *slab] before anything is accumulated."""
  if grads.ndim == 1:
    square = jnp.square(grads)
    return Means(square, jnp.zeros((0,)), grads, jnp.square(params))
  return _in_blocks(_means, (grads, params))


def accumulate(acc: Accumulators, grads: jax.Array, means: Means) -> Accumulators:
  """Takes in a gradient [S, *slab]: a ← d a + (1 - d) x for each moving average."""
  return Accumulators(
    tuple(_average(d, m, grads) for d, m in zip(MOMENTUM_DECAYS, acc.momenta, strict=True)),
    _average(SECOND_DECAY, acc.second, jnp.square(grads)),
    _averages(acc.row, means.row + 1e-30),
    _averages(acc.col, means.col + 1e-30),
  )


def next_means(group: Group, old: jax.Array, means: Means) -> jax.Array:
  """The means [tensors, 4] of what `accumulate` leads to, without looking at it: by linearity.

  So the pass that takes the moments can center them as it goes.
  """
  square = means.row if means.row.ndim == 1 else jnp.mean(means.row, axis=1)
  now = tensor_means(group, jnp.stack([means.grad] * len(MOMENTUM_DECAYS) + [square], axis=1))
  decays = jnp.array([[*MOMENTUM_DECAYS, SECOND_DECAY]], jnp.float32)
  return decays * old + (1.0 - decays) * now


def mlp_inputs(grads: jax.Array, params: jax.Array, acc: Accumulators) -> list[jax.Array]:
  """The 30 inputs, each [S, *slab] or of length 1 along an axis where it does not vary."""
  m, v = acc.momenta, acc.second
  inverse = jax.lax.rsqrt(v + 1e-6)
  if grads.ndim == 1:
    row = col = list(acc.row)
    grad_factor = [_safe_rsqrt(x + 1e-9) for x in row]
    momentum_factor = [jax.lax.rsqrt(x) for x in row]
  else:
    row, col = [x[..., None] for x in acc.row], [x[:, None] for x in acc.col]
    row_factor = [_safe_rsqrt(x / (jnp.mean(x, axis=1, keepdims=True) + 1e-9)) for x in row]
    col_factor = [_safe_rsqrt(x) for x in col]
    grad_factor = [r * c for r, c in zip(row_factor, col_factor, strict=True)]
    momentum_factor = grad_factor
  return [
    grads,
    jnp.clip(grads, -0.1, 0.1),
    params,
    *m,
    v,
    *(x * inverse for x in m),
    inverse,
    *(grads * factor for factor in grad_factor),
    grads * inverse,
    *row,
    *col,
    *(jax.lax.rsqrt(x + 1e-8) for x in row),
    *(jax.lax.rsqrt(x + 1e-8) for x in col),
    *(x * factor for x, factor in zip(m, momentum_factor, strict=True)),
  ]


def moments_and_scales(
  group: Group, grads: jax.Array, params: jax.Array, acc: Accumulators, means: jax.Array
) -> tuple[Moments, jax.Array]:
  """The moments for the next step, and what normalises the inputs in this one.

  Args:
    group: whose gradients, parameters and accumulators these are.
    grads: [S, *slab].
    params: [S, *slab].
    acc: with the gradients already in it.
    means: [tensors, 4], of `next_means`.

  Returns:
    The moments, and rsqrt(1e-5 + mean x²) of each tensor's inputs: [tensors, 30].
  """
  centers = spread(group, means)
  if grads.ndim == 1:
    squares = _mean_squares(grads, params, acc, centers)
  else:
    by_slab = acc._replace(row=jnp.moveaxis(acc.row, 1, 0), col=jnp.moveaxis(acc.col, 1, 0))
    squares = _in_blocks(_mean_squares_by_slab, (grads, params, by_slab, centers))
  squares = tensor_means(group, squares)
  var = squares[:, MOMENTA]
  squares = squares.at[:, MOMENTA].add(jnp.square(means))
  return Moments(means, var), jax.lax.rsqrt(1e-5 + squares)


def _mean_squares(
  grads: jax.Array, params: jax.Array, acc: Accumulators, centers: jax.Array
) -> jax.Array:
  """Of each slab's inputs, momenta and second moment centered: [S, 30]."""
  inputs = mlp_inputs(grads, params, acc)
  inputs[MOMENTA] = [x - _per_slab(c, x) for x, c in zip(inputs[MOMENTA], centers.T, strict=True)]
  return jnp.stack([_slab_means(jnp.square(x)) for x in inputs], axis=1)


def _mean_squares_by_slab(
  grads: jax.Array, params: jax.Array, acc: Accumulators, centers: jax.Array
) -> jax.Array:
  acc = acc._replace(row=jnp.moveaxis(acc.row, 0, 1), col=jnp.moveaxis(acc.col, 0, 1))
  return _mean_squares(grads, params, acc, centers)


def _means(grads: jax.Array, params: jax.Array) -> Means:
  square = jnp.square(grads)
  row, col = jnp.mean(square, axis=2), jnp.mean(square, axis=1)
  return Means(row, col, _slab_means(grads), _slab_means(jnp.square(params)))


def _slab_means(x: jax.Array) -> jax.Array:
  """[S, *slab] -> [S]."""
  # The last axis is kept for last: adding up rows keeps the lanes of a CPU busy.
  return x if x.ndim == 1 else jnp.mean(jnp.mean(x, axis=1), axis=1)


def _in_blocks(function: Callable[..., PyTree], arguments: tuple) -> PyTree:
  """`function(*arguments)` for few slabs at a time, so that what it computes stays in a cache."""
  S, *slab = arguments[0].shape
  fitting = max(1, BLOCK // math.prod(slab))
  size = max(k for k in range(1, S + 1) if S % k == 0 and k <= fitting)
  blocks = jax.tree.map(lambda x: x.reshape(S // size, size, *x.shape[1:]), arguments)
  out = jax.lax.map(lambda block: function(*block), blocks)
  return jax.tree.map(lambda x: x.reshape(S, *x.shape[2:]), out)


def apply_mlp(inputs: Sequence[jax.Array], mlp: MLP) -> jax.Array:
  """out_0 exp(0.001 out_1) of each entry's MLP.

  Args:
    inputs: of `mlp_inputs`, not normalised.
    mlp: the MLP of each slab, the normalisation folded into w0: leaves [S, ...].

  Returns:
    [S, *slab].
  """
  w0, b0, w1, b1, w2, b2 = (jnp.moveaxis(w, 0, -1) for w in mlp)

  def weight(w: jax.Array) -> jax.Array:
    return _per_slab(w, inputs[0])

  hidden = []
  for j in range(HIDDEN):
    # What varies along an axis is added up along this axis before it meets the others.
    sums = {inputs[0].shape: weight(b0[j])}
    for x, w in zip(inputs, w0[:, j], strict=True):
      sums[x.shape] = sums.get(x.shape, 0.0) + weight(w) * x
    hidden.append(jax.nn.relu(sum(sums.values())))
  hidden = [
    jax.nn.relu(sum((weight(w) * x for x, w in zip(hidden, w1[:, j], strict=True)), weight(b1[j])))
    for j in range(HIDDEN)
  ]
  out = [
    sum((weight(w) * x for x, w in zip(hidden, w2[:, j], strict=True)), weight(b2[j]))
    for j in range(2)
  ]
  return out[0] * jnp.exp(0.001 * out[1])


def _per_slab(x: jax.Array, like: jax.Array) -> jax.Array:
  """[S] as something that multiplies [S, *slab]."""
  return x.reshape(-1, *(1,) * (like.ndim - 1))


def _average(decay: float, average: jax.Array, x: jax.Array) -> jax.Array:
  return decay * average + (1.0 - decay) * x


def _averages(averages: jax.Array, x: jax.Array) -> jax.Array:
  return jnp.stack([_average(d, a, x) for d, a in zip(FACTORED_DECAYS, averages, strict=True)])


def _safe_rsqrt(x: jax.Array) -> jax.Array:
  return jax.lax.rsqrt(jnp.maximum(x, 1e-9))

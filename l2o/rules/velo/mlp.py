"""VeLO's per-parameter part: accumulators, the 30 inputs computed from them, and each entry's MLP.

Arrays are those of a group of tensors (`tensor_groups`): [S, d1, d0] for S slabs, or [S] for joined
vectors. Each of the 30 inputs is a separate array rather than a channel, and the MLP is
elementwise arithmetic between them: matrix products over an axis of 1 to 4 channels are slow.
Source: arXiv 2211.09760, as in `network`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from l2o.rules.velo.network import HIDDEN, MLP
from l2o.rules.velo.tensor_groups import Group, spread, tensor_means
from l2o.types import PyTree

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
SECOND_DECAY = 0.999
FACTORED_DECAYS = (0.9, 0.99, 0.999)
MOMENTA = slice(3, 7)  # the momenta and the second moment among the inputs
BLOCK = 2**18  # entries per pass of a loop that takes statistics


class Accumulators(NamedTuple):
  """Moving averages of a group's gradients: about four times the size of its parameters."""

  momenta: tuple[jax.Array, ...]  # 3 x [S, *slab] float32
  second: jax.Array  # [S, *slab] float32, of the squares
  row: jax.Array  # [S, 3, d1] float32, of the squares' means over d0; vectors: [3, S], squares
  col: jax.Array | None  # [S, 3, d0] float32, of the squares' means over d1; None for vectors


class Factors(NamedTuple):
  """Derived from the row and column averages of matrices."""

  row_root: jax.Array  # [S, 3, d1], rsqrt(row + 1e-8)
  col_root: jax.Array  # [S, 3, d0]
  row_factor: jax.Array  # [S, 3, d1], of Adafactor
  col_factor: jax.Array  # [S, 3, d0]


class Sources(NamedTuple):
  """What the inputs of a group's MLPs are computed from."""

  grads: jax.Array  # [S, *slab]
  params: jax.Array  # [S, *slab]
  acc: Accumulators  # already updated with the gradients
  factors: Factors | None  # None for vectors


class Means(NamedTuple):
  """Means of a group's gradients and parameters."""

  row: jax.Array  # [S, d1] of the squared gradients over d0; vectors: [S], the squares
  col: jax.Array | None  # [S, d0] of the squared gradients over d1; None for vectors
  grad: jax.Array  # [S] of the gradients
  param: jax.Array  # [S] of the squared parameters


class Moments(NamedTuple):
  """Moments of each tensor's three momenta and its second moment, in this order."""

  mean: jax.Array  # [tensors, 4] float32
  var: jax.Array  # [tensors, 4] float32


def init_accumulators(group: Group) -> Accumulators:
  """Accumulators before the first gradient: zeros."""
  S, D = group.shape[0], len(FACTORED_DECAYS)
  return Accumulators(
    tuple(jnp.zeros(group.shape) for _ in MOMENTUM_DECAYS),
    jnp.zeros(group.shape),
    jnp.zeros((S, D, *group.slab[:1]) if group.slab else (D, S)),
    jnp.zeros((S, D, *group.slab[1:])) if group.slab else None,
  )


def first_look(grads: jax.Array, params: jax.Array) -> tuple[jax.Array, jax.Array, Means]:
  """Means of gradients and parameters [S, *slab], taken before anything is accumulated.

  Returns:
    Gradients and parameters, to use instead of the arguments (see `_in_blocks`), and their means.
  """
  if grads.ndim == 1:
    square = jnp.square(grads)
    return grads, params, Means(square, None, grads, jnp.square(params))
  (grads, params), means = _in_blocks(_means, (grads, params))
  return grads, params, means


def accumulate(acc: Accumulators, grads: jax.Array, params: jax.Array, means: Means) -> Sources:
  """Adds a gradient [S, *slab]: a ← d a + (1 - d) x for each moving average."""
  col = None
  if acc.col is not None and means.col is not None:
    col = _averages(acc.col, means.col + 1e-30)
  acc = Accumulators(
    tuple(_average(d, m, grads) for d, m in zip(MOMENTUM_DECAYS, acc.momenta, strict=True)),
    _average(SECOND_DECAY, acc.second, jnp.square(grads)),
    _averages(acc.row, means.row + 1e-30),
    col,
  )
  return Sources(grads, params, acc, None if col is None else _factors(acc.row, col))


def next_means(group: Group, old: jax.Array, means: Means) -> jax.Array:
  """Means [tensors, 4] of the updated accumulators from the old means: averages are linear.

  So the pass that takes the moments can centre them as it goes.
  """
  square = means.row if means.row.ndim == 1 else jnp.mean(means.row, axis=1)
  now = tensor_means(group, jnp.stack([means.grad] * len(MOMENTUM_DECAYS) + [square], axis=1))
  decays = jnp.array([[*MOMENTUM_DECAYS, SECOND_DECAY]], jnp.float32)
  return decays * old + (1.0 - decays) * now


def mlp_inputs(sources: Sources) -> list[jax.Array]:
  """The 30 inputs, each [S, *slab] or of length 1 along an axis where it is constant."""
  grads, params, acc, factors = sources
  m, v = acc.momenta, acc.second
  inverse = jax.lax.rsqrt(v + 1e-6)
  if acc.col is None or factors is None:
    row = col = list(acc.row)
    row_root = col_root = [jax.lax.rsqrt(x + 1e-8) for x in row]
    grad_factor = [_safe_rsqrt(x + 1e-9) for x in row]
    momentum_factor = [jax.lax.rsqrt(x) for x in row]
  else:
    row, row_root, row_factor = map(_rows, (acc.row, factors.row_root, factors.row_factor))
    col, col_root, col_factor = map(_cols, (acc.col, factors.col_root, factors.col_factor))
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
    *row_root,
    *col_root,
    *(x * factor for x, factor in zip(m, momentum_factor, strict=True)),
  ]


def moments_and_scales(
  group: Group, sources: Sources, means: jax.Array
) -> tuple[Moments, jax.Array, Sources]:
  """Moments for the next step, and the scales that normalise the inputs in this one.

  Args:
    group: the group.
    sources: from `accumulate`.
    means: [tensors, 4], from `next_means`.

  Returns:
    The moments; rsqrt(1e-5 + mean x²) of each tensor's inputs: [tensors, 30]; and the sources to
    use instead of the argument (see `_in_blocks`).
  """
  centers = spread(group, means)
  if sources.factors is None:
    squares = _mean_squares(sources, centers)
  else:
    (sources, _), squares = _in_blocks(_mean_squares, (sources, centers))
  squares = tensor_means(group, squares)
  var = squares[:, MOMENTA]
  squares = squares.at[:, MOMENTA].add(jnp.square(means))
  return Moments(means, var), jax.lax.rsqrt(1e-5 + squares), sources


def _mean_squares(sources: Sources, centers: jax.Array) -> jax.Array:
  """Mean squares of each slab's inputs, momenta and second moment centred: [S, 30]."""
  inputs = mlp_inputs(sources)
  inputs[MOMENTA] = [x - _per_slab(c, x) for x, c in zip(inputs[MOMENTA], centers.T, strict=True)]
  return jnp.stack([_slab_means(jnp.square(x)) for x in inputs], axis=1)


def _factors(row: jax.Array, col: jax.Array) -> Factors:
  """For all decays at once: a computation per decay would multiply the compile time."""
  mean = jnp.mean(row, axis=2, keepdims=True)
  return Factors(
    jax.lax.rsqrt(row + 1e-8),
    jax.lax.rsqrt(col + 1e-8),
    _safe_rsqrt(row / (mean + 1e-9)),
    _safe_rsqrt(col),
  )


def _rows(x: jax.Array) -> list[jax.Array]:
  """[S, 3, d1] -> 3 x [S, d1, 1]."""
  return [x[:, k, :, None] for k in range(x.shape[1])]


def _cols(x: jax.Array) -> list[jax.Array]:
  """[S, 3, d0] -> 3 x [S, 1, d0]."""
  return [x[:, k, None] for k in range(x.shape[1])]


def _means(grads: jax.Array, params: jax.Array) -> Means:
  square = jnp.square(grads)
  row, col = jnp.mean(square, axis=2), jnp.mean(square, axis=1)
  return Means(row, col, _slab_means(grads), _slab_means(jnp.square(params)))


def _slab_means(x: jax.Array) -> jax.Array:
  """[S, *slab] -> [S]."""
  # The last axis is reduced last: adding up rows keeps the vector lanes of a CPU busy.
  return x if x.ndim == 1 else jnp.mean(jnp.mean(x, axis=1), axis=1)


def _in_blocks(
  function: Callable[..., PyTree], arguments: tuple[PyTree, ...]
) -> tuple[tuple[PyTree, ...], PyTree]:
  """`function(*arguments)` for a few slabs at a time, so that intermediates stay in the cache.

  Returns:
    The arguments, unchanged, and the result. Use the returned arguments, not the originals: XLA
    copies buffers that are read both inside and after a loop.
  """
  S, *slab = jax.tree.leaves(arguments)[0].shape
  fitting = max(1, BLOCK // math.prod(slab))
  size = max(k for k in range(1, S + 1) if S % k == 0 and k <= fitting)

  def block(arguments: tuple[PyTree, ...], i: jax.Array) -> PyTree:
    cut = lambda x: jax.lax.dynamic_slice_in_dim(x, i * size, size)  # noqa: E731
    return function(*jax.tree.map(cut, arguments))

  def step(i: jax.Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
    arguments, out = carry
    put = lambda all, x: jax.lax.dynamic_update_slice_in_dim(all, x, i * size, 0)  # noqa: E731
    out = jax.tree.map(put, out, block(arguments, i))
    # Without the barrier JAX sees that the arguments are unchanged, and uses the originals.
    return jax.lax.optimization_barrier(arguments), out

  shapes = jax.eval_shape(block, arguments, 0)
  out = jax.tree.map(lambda x: jnp.zeros((S, *x.shape[1:]), x.dtype), shapes)
  return jax.lax.fori_loop(0, S // size, step, (arguments, out))


def apply_mlp(inputs: Sequence[jax.Array], mlp: MLP) -> jax.Array:
  """out_0 exp(0.001 out_1) of each entry's MLP.

  Args:
    inputs: from `mlp_inputs`, not normalised.
    mlp: the MLP of each slab, the normalisation folded into w0: leaves [S, ...].

  Returns:
    [S, *slab].
  """
  w0, b0, w1, b1, w2, b2 = (jnp.moveaxis(w, 0, -1) for w in mlp)

  def weight(w: jax.Array) -> jax.Array:
    return _per_slab(w, inputs[0])

  hidden = []
  for j in range(HIDDEN):
    # Inputs of the same shape are summed first, before they are broadcast against the others.
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
  """[S] reshaped to broadcast against [S, *slab]."""
  return x.reshape(-1, *(1,) * (like.ndim - 1))


def _average(decay: float, average: jax.Array, x: jax.Array) -> jax.Array:
  return decay * average + (1.0 - decay) * x


def _averages(averages: jax.Array, x: jax.Array) -> jax.Array:
  """Updates averages [S, 3, d] with x [S, d], or [3, S] with x [S]."""
  decays = jnp.array(FACTORED_DECAYS, jnp.float32).reshape((1,) * (x.ndim - 1) + (-1, 1))
  return decays * averages + (1.0 - decays) * jnp.expand_dims(x, -2)


def _safe_rsqrt(x: jax.Array) -> jax.Array:
  return jax.lax.rsqrt(jnp.maximum(x, 1e-9))

"""VeLO's per-parameter part: accumulators, the 30 inputs made of them, and the MLP on each entry.

Arrays are those of a group of tensors (`l2o.tensor_groups`): [S, d1, d0] for S slabs, or [S] for
joined vectors. Each of the 30 inputs is an array of its own, never a channel of one, and the MLP is
elementwise arithmetic between them: products over an axis of 1 to 4 channels are what made
this optimizer slow. Source: arXiv 2211.09760, as in `l2o.velo_network`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from l2o.tensor_groups import Group, spread, tensor_means
from l2o.velo_network import HIDDEN, MLP

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
SECOND_DECAY = 0.999
FACTORED_DECAYS = (0.9, 0.99, 0.999)
GRADIENT, PARAMETER, MOMENTA = 0, 2, slice(3, 7)  # inputs whose mean square is known beforehand


class Accumulators(NamedTuple):
  """Moving averages of a group's gradients: about four times the size of its parameters."""

  momenta: tuple[jax.Array, ...]  # 3 x [S, *slab] float32
  second: jax.Array  # [S, *slab] float32, of the squares
  row: jax.Array  # [3, S, d1] float32, of the squares' means over d0; [3, S] for vectors: of them
  col: jax.Array  # [3, S, d0] float32, of the squares' means over d1; [3, 0] for vectors


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


def accumulate(acc: Accumulators, grads: jax.Array) -> Accumulators:
  """Takes in a gradient [S, *slab]: a ← d a + (1 - d) x for each moving average."""
  square = jnp.square(grads)
  momenta = (_average(d, m, grads) for d, m in zip(MOMENTUM_DECAYS, acc.momenta, strict=True))
  row, col = acc.row, acc.col
  if grads.ndim == 1:
    row = _averages(row, square + 1e-30)
  else:
    row = _averages(row, jnp.mean(square, axis=2) + 1e-30)
    col = _averages(col, jnp.mean(square, axis=1) + 1e-30)
  return Accumulators(tuple(momenta), _average(SECOND_DECAY, acc.second, square), row, col)


def next_means(group: Group, means: jax.Array, grads: jax.Array) -> jax.Array:
  """The means that `accumulate` will lead to, without looking at what it accumulates: linearity.

  They are wanted before the pass that writes the averages, which so can center them as it goes.
  """
  x = jnp.stack([slab_means(grads), slab_means(jnp.square(grads))], axis=1)
  now = tensor_means(group, x)
  columns = [now[:, 0]] * len(MOMENTUM_DECAYS) + [now[:, 1]]
  decays = (*MOMENTUM_DECAYS, SECOND_DECAY)
  new = [_average(d, means[:, k], columns[k]) for k, d in enumerate(decays)]
  return jnp.stack(new, axis=1)


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


def slab_means(x: jax.Array) -> jax.Array:
  """Means over each slab: [S, *slab] -> [S]."""
  return x if x.ndim == 1 else jnp.mean(x, axis=tuple(range(1, x.ndim)))


def moments_and_scales(
  group: Group, inputs: Sequence[jax.Array], means: jax.Array
) -> tuple[Moments, jax.Array]:
  """The moments for the next step, and what normalises the inputs in this one.

  Args:
    group: whose inputs these are.
    inputs: of `mlp_inputs`.
    means: [tensors, 4], of `next_means`.

  Returns:
    The moments, and rsqrt(1e-5 + mean x²) of each tensor's inputs: [tensors, 30].
  """
  centers = [_per_slab(c, inputs[0]) for c in spread(group, means).T]
  columns = [slab_means(jnp.square(x)) for x in inputs]
  columns[MOMENTA] = [
    slab_means(jnp.square(x - c)) for x, c in zip(inputs[MOMENTA], centers, strict=True)
  ]
  squares = tensor_means(group, jnp.stack(columns, axis=1))
  var = squares[:, MOMENTA]
  squares = squares.at[:, MOMENTA].add(jnp.square(means))
  return Moments(means, var), jax.lax.rsqrt(1e-5 + squares)


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

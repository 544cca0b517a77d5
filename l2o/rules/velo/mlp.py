"""VeLO's per-parameter part: 30 inputs for each entry, and the moments that its LSTM sees.

Arrays belong to a group of tensors (`tensor_groups`): [S, d1, d0] for S slabs, or [S] for joined
vectors. Source: arXiv 2211.09760, as in `network`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from l2o.rules.per_parameter.accumulators import (
  Accumulators,
  Decays,
  Sources,
  accumulate,
  factored_means,
)
from l2o.rules.per_parameter.blocks import in_blocks, slabs_per_block
from l2o.rules.per_parameter.inputs import input_blocks, slab_mean_squares, slab_means
from l2o.rules.per_parameter.mlp import per_slab
from l2o.rules.per_parameter.tensor_groups import Group, spread, tensor_means

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
SECOND_DECAY = 0.999
FACTORED_DECAYS = (0.9, 0.99, 0.999)
MOMENTA = slice(3, 7)  # the momenta and the second moment among the inputs


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


def first_look(grads: jax.Array, params: jax.Array) -> tuple[jax.Array, jax.Array, Means]:
  """Means of gradients and parameters [S, *slab], taken before anything is accumulated.

  Returns:
    Gradients and parameters, to use instead of the arguments (see `in_blocks`), and their means.
  """
  if grads.ndim == 1:
    return grads, params, _means(0, grads, params)
  (grads, params), means = in_blocks(_means, (grads, params), slabs_per_block(grads.shape))
  return grads, params, means


def add_gradient(acc: Accumulators, grads: jax.Array, params: jax.Array, means: Means) -> Sources:
  """`accumulate` with VeLO's decays."""
  decays = Decays(MOMENTUM_DECAYS, SECOND_DECAY, jnp.array(FACTORED_DECAYS, jnp.float32))
  return accumulate(acc, grads, params, means.row, means.col, decays)


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
  return [x for block in input_blocks(sources).values() for x in block]


def moments_and_scales(
  group: Group, sources: Sources, means: jax.Array
) -> tuple[Moments, jax.Array, Sources]:
  """Moments for the next step, and the scales that normalise the inputs in this one.

  Args:
    group: the group.
    sources: from `add_gradient`.
    means: [tensors, 4], from `next_means`.

  Returns:
    The moments; rsqrt(1e-5 + mean x²) of each tensor's inputs: [tensors, 30]; and the sources to
    use instead of the argument (see `in_blocks`).
  """
  centers = spread(group, means)
  if sources.factors is None:
    squares = _mean_squares(0, sources, centers)
  else:
    size = slabs_per_block(group.shape)
    (sources, _), squares = in_blocks(_mean_squares, (sources, centers), size)
  squares = tensor_means(group, squares)
  var = squares[:, MOMENTA]
  squares = squares.at[:, MOMENTA].add(jnp.square(means))
  return Moments(means, var), jax.lax.rsqrt(1e-5 + squares), sources


def _mean_squares(start: jax.Array | int, sources: Sources, centers: jax.Array) -> jax.Array:
  """Mean squares of each slab's inputs, momenta and second moment centred: [S, 30]."""
  del start
  inputs = mlp_inputs(sources)
  inputs[MOMENTA] = [x - per_slab(c, x) for x, c in zip(inputs[MOMENTA], centers.T, strict=True)]
  return slab_mean_squares(inputs)


def _means(start: jax.Array | int, grads: jax.Array, params: jax.Array) -> Means:
  del start
  row, col = factored_means(jnp.square(grads))
  return Means(row, col, slab_means(grads), slab_means(jnp.square(params)))

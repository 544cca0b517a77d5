"""Packs tensors into few arrays, so that program size grows with distinct shapes, not tensors.

A tensor of rank 2 or more is cut into slabs, matrices of its two largest axes; slabs of one shape
are stacked, whichever tensor they come from. Vectors and scalars are joined end to end: their slabs
are single elements. What is computed for a slab is the same for all slabs of a group, and sums over
a tensor are sums over its run of slabs.

A rule that treats each matrix of a tensor's *last* two axes separately (`matrices`) needs slabs
that hold whole matrices. Where these axes are not the two largest, the tensor is one slab.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from l2o.types import PyTree

Shape = tuple[int, ...]
State = TypeVar('State')


class Group(NamedTuple):
  """Tensors whose slabs have the same shape, those with fewer slabs first."""

  slab: Shape  # (d1, d0), (…, d1, d0) for a whole tensor, or () for vectors and scalars
  tensors: tuple[int, ...]  # positions in the list of tensors
  lengths: tuple[int, ...]  # slabs of each tensor
  matrix: tuple[int, int] = (-2, -1)  # with `matrices`: where a slab has the tensor's last two axes

  @property
  def shape(self) -> Shape:
    """[slabs, *slab], the shape of the group's arrays."""
    return (sum(self.lengths), *self.slab)


def factored_axes(shape: Shape) -> tuple[int, int]:
  """The second largest and the largest axis, by a stable sort of the lengths.

  Example:
    >>> factored_axes((7, 7, 3, 64))
    (1, 3)
  """
  d1, d0 = np.argsort(shape, kind='stable')[-2:]
  return int(d1), int(d0)


def group_tensors(shapes: Sequence[Shape], matrices: bool = False) -> tuple[Group, ...]:
  """Sorts tensors into groups.

  Args:
    shapes: shapes of the tensors.
    matrices: whether slabs hold whole matrices of the last two axes.

  Example:
    >>> for group in group_tensors([(3, 3, 8, 16), (16,), (1, 1, 8, 16), (), (16, 8)]):
    ...   print(group.slab, group.tensors, group.lengths)
    () (3, 1) (1, 16)
    (8, 16) (2, 4, 0) (1, 1, 9)
    >>> group_tensors([(5, 1, 2)], matrices=True)
    (Group(slab=(1, 2, 5), tensors=(0,), lengths=(1,), matrix=(-3, -2)),)
  """
  members: dict[tuple[Shape, tuple[int, int]], list[tuple[int, int]]] = {}
  for position, shape in enumerate(shapes):
    slab, matrix = _slab(shape, matrices)
    members.setdefault((slab, matrix), []).append((math.prod(shape) // math.prod(slab), position))
  groups = []
  for (slab, matrix), found in sorted(members.items()):
    lengths, tensors = zip(*sorted(found), strict=True)
    groups.append(Group(slab, tensors, lengths, matrix))
  return tuple(groups)


def _slab(shape: Shape, matrices: bool) -> tuple[Shape, tuple[int, int]]:
  """A slab of a tensor, and the places of the tensor's last two axes in it."""
  rank = len(shape)
  if rank < 2:
    return (), (-2, -1)
  factored = factored_axes(shape)
  if not matrices or set(factored) == {rank - 2, rank - 1}:
    return (shape[factored[0]], shape[factored[1]]), (-2, -1)
  order = [axis for axis in range(rank) if axis not in factored] + list(factored)
  places = order.index(rank - 2) - rank, order.index(rank - 1) - rank
  return tuple(shape[axis] for axis in order), places


def join(group: Group, leaves: Sequence[jax.Array]) -> jax.Array:
  """The group's tensors as one float32 array [slabs, *slab]."""
  parts = [_to_slabs(leaves[i], group.slab).astype(jnp.float32) for i in group.tensors]
  return jnp.concatenate(parts) if len(parts) > 1 else parts[0]


def split(group: Group, joined: jax.Array, like: Sequence[jax.Array]) -> dict[int, jax.Array]:
  """Undoes `join`: position -> array, in the shapes and dtypes of `like`."""
  stops = np.cumsum(group.lengths)
  parts = {}
  for i, length, stop in zip(group.tensors, group.lengths, stops, strict=True):
    part = jax.lax.slice_in_dim(joined, stop - length, stop).astype(like[i].dtype)
    parts[i] = _from_slabs(part, like[i].shape)
  return parts


def by_group(
  groups: Sequence[Group],
  grads: Sequence[jax.Array],
  params: Sequence[jax.Array],
  states: Sequence[State],
  step: Callable[[Group, jax.Array, jax.Array, State], tuple[jax.Array, State]],
) -> tuple[list[jax.Array], tuple[State, ...]]:
  """Steps one group after the other.

  Args:
    groups: the groups of these tensors.
    grads: the gradient of each tensor.
    params: the tensors.
    states: the state of each group.
    step: (group, gradients, parameters, state) -> (updates, state), arrays [slabs, *slab] float32.

  Returns:
    The updates of each tensor, in its dtype, and the new states.
  """
  parts: dict[int, jax.Array] = {}
  new = []
  for group, state in zip(groups, states, strict=True):
    joined, state = step(group, join(group, grads), join(group, params), state)
    parts |= split(group, joined, params)
    new.append(state)
  return [parts[i] for i in range(len(params))], tuple(new)


def tensor_means(group: Group, x: jax.Array) -> jax.Array:
  """Means over each tensor's slabs: [slabs, ...] -> [tensors, ...].

  Example:
    >>> tensor_means(Group((), (0, 1, 2), (1, 1, 3)), jnp.array([1.0, 2.0, 3.0, 4.0, 8.0]))
    Array([1., 2., 5.], dtype=float32)
  """
  means, start = [], 0
  for length in sorted(set(group.lengths)):  # one reduction for all tensors of a length
    count = group.lengths.count(length)
    run = jax.lax.slice_in_dim(x, start, start + count * length)
    means.append(jnp.mean(run.reshape(count, length, *x.shape[1:]), axis=1))
    start += count * length
  return jnp.concatenate(means)


def spread(group: Group, x: jax.Array) -> jax.Array:
  """Repeats each tensor's value for all of its slabs: [tensors, ...] -> [slabs, ...]."""
  return x[np.repeat(np.arange(len(group.lengths)), group.lengths)]


def leaf_order(groups: Sequence[Group], per_group: Sequence[jax.Array]) -> jax.Array:
  """Concatenates the groups' per-tensor values, in the order of the list of tensors."""
  positions = [i for group in groups for i in group.tensors]
  return jnp.concatenate(per_group)[np.argsort(positions)]


def tensors_of(tree: PyTree) -> list[Any]:
  """The leaves that are not empty."""
  return [leaf for leaf in jax.tree.leaves(tree) if leaf.size]


def replace_tensors(tree: PyTree, tensors: Sequence[jax.Array]) -> PyTree:
  """The tree with other arrays in place of `tensors_of(tree)`.

  Example:
    >>> replace_tensors({'a': jnp.zeros((0, 3)), 'b': jnp.ones(2)}, [jnp.zeros(2)])['b']
    Array([0., 0.], dtype=float32)
  """
  new = iter(tensors)
  return jax.tree.map(lambda leaf: next(new) if leaf.size else leaf, tree)


def _to_slabs(x: jax.Array, slab: Shape) -> jax.Array:
  if not slab:
    return x.reshape(-1)
  return jnp.moveaxis(x, factored_axes(x.shape), (-2, -1)).reshape(-1, *slab)


def _from_slabs(x: jax.Array, shape: Shape) -> jax.Array:
  if len(shape) < 2:
    return x.reshape(shape)
  axes = factored_axes(shape)
  others = tuple(length for axis, length in enumerate(shape) if axis not in axes)
  return jnp.moveaxis(x.reshape(*others, *x.shape[-2:]), (-2, -1), axes)

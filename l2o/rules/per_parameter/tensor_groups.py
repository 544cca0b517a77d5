"""Packs tensors into few arrays, so that program size grows with distinct shapes, not tensors.

A tensor of rank 2 or more is cut into slabs, matrices of its two largest axes; slabs of one shape
are stacked, whichever tensor they come from. Vectors and scalars are joined end to end: their slabs
are single elements. What is computed for a slab is the same for all slabs of a group, and sums over
a tensor are sums over its run of slabs.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l2o.types import PyTree

Shape = tuple[int, ...]


class Group(NamedTuple):
  """Tensors whose slabs have one shape, those with fewer slabs first."""

  slab: Shape  # (d1, d0), or () for vectors and scalars
  tensors: tuple[int, ...]  # positions in the list of tensors
  lengths: tuple[int, ...]  # slabs of each tensor

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


def group_tensors(shapes: Sequence[Shape]) -> tuple[Group, ...]:
  """Sorts tensors into groups.

  Example:
    >>> for group in group_tensors([(3, 3, 8, 16), (16,), (1, 1, 8, 16), (), (16, 8)]):
    ...   print(group.slab, group.tensors, group.lengths)
    () (3, 1) (1, 16)
    (8, 16) (2, 4, 0) (1, 1, 9)
  """
  members: dict[Shape, list[tuple[int, int]]] = {}
  for position, shape in enumerate(shapes):
    slab = tuple(shape[axis] for axis in factored_axes(shape)) if len(shape) > 1 else ()
    members.setdefault(slab, []).append((math.prod(shape) // math.prod(slab), position))
  groups = []
  for slab, found in sorted(members.items()):
    lengths, tensors = zip(*sorted(found), strict=True)
    groups.append(Group(slab, tensors, lengths))
  return tuple(groups)


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
  return jnp.moveaxis(x.reshape(*others, *x.shape[1:]), (-2, -1), axes)

"""Arrays between the host and a mesh that may span several processes.

`jax.device_put` and `jax.device_get` do this within one process. With several, each makes the
shards of its own devices, and an array that is spread over others is gathered before it is read.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from l2o.types import PyTree


def put(tree: PyTree, place: NamedSharding) -> PyTree:
  """Places what every process holds a copy of: arrays on the host, or on its own devices.

  Args:
    tree: arrays and keys.
    place: the sharding of all of them.

  Example:
    >>> from trainers.resources import meshes
    >>> mesh = meshes.make_mesh()
    >>> put({'x': np.ones(2)}, meshes.replicated(mesh))['x'].sharding.mesh == mesh
    True
  """
  if jax.process_count() == 1:
    return jax.device_put(tree, place)
  return jax.tree.map(lambda x: _put(x, place), tree)


def _put(x: Any, place: NamedSharding) -> jax.Array:
  if isinstance(x, jax.Array):
    if not x.is_fully_addressable:
      return jax.device_put(x, place)  # from one place on the same devices to another
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
      data = _put(jax.random.key_data(x), place)
      return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
  held = np.asarray(x)
  held = held.astype(jax.dtypes.canonicalize_dtype(held.dtype), copy=False)
  # `device_put` would gather the array from all processes to compare it, and fail on NaN.
  return jax.make_array_from_callback(held.shape, place, lambda index: held[index])


def own_part(place: NamedSharding, axis: int, size: int) -> slice:
  """The part of an array's axis that the devices of this process hold.

  Args:
    place: the array's sharding.
    axis: the axis.
    size: its length.

  Example:
    >>> from trainers.resources import meshes
    >>> own_part(meshes.batch_sharding(meshes.make_mesh(), axis=1), axis=1, size=6)
    slice(0, 6, None)
  """
  shape = (1,) * axis + (size,)
  parts = [
    index[axis].indices(size)[:2] for index in place.addressable_devices_indices_map(shape).values()
  ]
  return slice(min(start for start, _ in parts), max(stop for _, stop in parts))


def put_part(
  tree: Mapping[str, Any], place: NamedSharding, axis: int, part: slice, size: int
) -> PyTree:
  """Places arrays of which this process holds only `part` of an axis; see `own_part`.

  Args:
    tree: arrays on the host.
    place: the sharding of the whole arrays.
    axis: the axis of which each process holds a part.
    part: this process's part.
    size: the length of the whole axis.

  Example:
    >>> from trainers.resources import meshes
    >>> place = meshes.batch_sharding(meshes.make_mesh(), axis=0)
    >>> put_part({'x': np.ones((6, 2))}, place, 0, slice(0, 6), 6)['x'].shape
    (6, 2)
  """
  if jax.process_count() == 1:
    return jax.device_put(tree, place)

  def whole(x: np.ndarray) -> jax.Array:
    def shard(index: tuple[slice, ...]) -> np.ndarray:
      start, stop, _ = index[axis].indices(size)
      moved = slice(start - part.start, stop - part.start)
      return x[(*index[:axis], moved, *index[axis + 1 :])]

    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    return jax.make_array_from_callback(shape, place, shard)

  return jax.tree.map(whole, tree)


def get(tree: PyTree) -> PyTree:
  """The whole arrays of a tree on the host, in every process.

  Example:
    >>> get({'x': jax.numpy.ones(2)})
    {'x': array([1., 1.], dtype=float32)}
  """
  return jax.device_get(jax.tree.map(_gathered, tree))


def _gathered(x: Any) -> Any:
  if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
    return multihost_utils.process_allgather(x, tiled=True)
  return x

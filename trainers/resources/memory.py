"""Checks that a state fits in a device's memory before it is allocated."""

import math
import os
from typing import Any

import jax

from l2o.errors import InputError
from l2o.types import PyTree
from trainers.resources import meshes

# In bytes, for devices that are not attached.
KNOWN = {
  'TPU v4': 32e9, 'TPU v5 lite': 16e9, 'TPU v5e': 16e9, 'TPU v5': 95e9, 'TPU v5p': 95e9,
  'TPU v6 lite': 32e9, 'TPU v6e': 32e9,
}  # fmt: skip


def device_bytes(device: jax.Device | None = None) -> int:
  """The bytes of memory of a device, by default one of this process; for a CPU, the machine's."""
  found = meshes.devices()
  own = (device for device in found if device.process_index == jax.process_index())
  device = device or next(own, found[0])
  if device.device_kind in KNOWN:
    return int(KNOWN[device.device_kind])
  stats = device.memory_stats() or {}
  return stats.get('bytes_limit') or os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def check_fits(tree: PyTree, places: PyTree, what: str) -> None:
  """Raises InputError if a device's share of `tree` exceeds its memory.

  Args:
    tree: arrays or their shapes.
    places: the sharding of each array.
    what: name of the tree and how to shrink it, for the error message.
  """

  def size(x: Any, place: Any) -> int:
    return math.prod(place.shard_shape(x.shape)) * jax.numpy.dtype(x.dtype).itemsize

  keys = jax.tree.map(lambda x: jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key), tree)
  sizes = jax.tree.map(lambda x, place, key: 0 if key else size(x, place), tree, places, keys)
  needed, there = sum(jax.tree.leaves(sizes)), device_bytes()
  if needed > there:
    raise InputError(
      f'{what}: it takes {needed / 1e9:.3g} GB, but a device has {there / 1e9:.3g} GB'
    )

"""Meshes, and the spreading of independent work over them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from l2o.build import call
from l2o.errors import InputError
from l2o.types import MapFn, PyTree


def set_cpu_devices(count: int) -> None:
  """Splits the CPU into `count` devices; without effect on other backends.

  A small network keeps one core busy, so members of a population run faster side by side. JAX
  takes this only before its first computation; later calls keep what there is, with a warning.
  """
  try:
    jax.config.update('jax_num_cpu_devices', count)
  except RuntimeError:
    if jax.default_backend() == 'cpu' and jax.device_count() != count:
      logging.warning('JAX already runs on %d CPU devices, not %d', jax.device_count(), count)


def make_mesh(population: int = 1, data: int = 1) -> Mesh:
  """A mesh ('population', 'data') over the first devices; -1 means all that the other leaves.

  Raises:
    InputError: more devices asked for than there are, or two axes of -1.
  """
  there = jax.device_count()
  if population == -1 and data == -1:
    raise InputError('mesh.population and mesh.data cannot both be -1')
  if population < -1 or data < -1 or 0 in (population, data):
    raise InputError('mesh.population and mesh.data must be -1 or at least 1')
  population = there // data if population == -1 else population
  data = there // population if data == -1 else data
  if not 1 <= population * data <= there:
    raise InputError(f'mesh: {population} x {data} devices are more than the {there} here')
  devices = np.asarray(jax.devices()[: population * data]).reshape(population, data)
  return Mesh(devices, ('population', 'data'), axis_types=(AxisType.Auto,) * 2)


def build_mesh(spec: Mapping[str, int], stage: str, batch_sizes: Sequence[int] = ()) -> Mesh:
  """The mesh of a stage's block `mesh`, over whose 'data' axis batches of these sizes are split.

  Raises:
    InputError: a mesh that cannot be, or a batch that it cannot split evenly.
  """
  try:
    mesh = call(make_mesh, spec, 'mesh')
  except InputError as error:
    raise InputError(f'{stage}.{error}') from error
  for size in batch_sizes:
    if size % mesh.shape['data']:
      raise InputError(
        f'{stage}.mesh.data = {mesh.shape["data"]} does not divide a batch of {size}'
      )
  return mesh


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of what every device of the mesh holds whole."""
  return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh, axis: int) -> NamedSharding:
  """The sharding of batches whose axis number `axis` is spread over the mesh's 'data' axis."""
  return NamedSharding(mesh, P(*[None] * axis, 'data'))


def sharded_map(mesh: Mesh, on_device: MapFn) -> MapFn:
  """Spreads a map over the mesh's 'population' axis; `on_device` runs each device's share.

  The leading axis need not be divisible by the devices: it is filled up with copies of its last
  entry, whose results are dropped. Nothing crosses devices but the results.
  """

  def map_fn(fn: Callable[[Any, Any], Any], xs: PyTree, shared: PyTree) -> PyTree:
    count = jax.tree.leaves(xs)[0].shape[0]
    missing = -count % mesh.shape['population']
    filled = jax.tree.map(lambda x: _fill(x, missing), xs)
    spread = jax.shard_map(
      lambda xs, shared: on_device(fn, xs, shared),
      mesh=mesh,
      in_specs=(P('population'), P()),
      out_specs=P('population'),
      axis_names={'population'},  # 'data' stays with the compiler
      check_vma=False,
    )
    return jax.tree.map(lambda y: y[:count], spread(filled, shared))

  return map_fn


def _fill(x: jax.Array, missing: int) -> jax.Array:
  return jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)]) if missing else x

"""Device meshes, and how to spread independent work over them.

A mesh smaller than the devices of several processes is repeated along its axis 'copy': every
process takes part, and all copies compute the same.
"""

import contextlib
import contextvars
import functools
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from l2o import platform
from l2o.arguments import Range
from l2o.errors import InputError
from l2o.registry import call, choose
from l2o.types import MapFn, PyTree
from trainers.processes import agreement, store

Size = Annotated[int, Range(at_least=-1)]  # size of a mesh axis


AXES = ('copy', 'population', 'data', 'model')
_assumed: contextvars.ContextVar[Sequence[jax.Device]] = contextvars.ContextVar('devices')


def devices() -> list[jax.Device]:
  """The devices of the run, or those it is only compiled for, sorted by process."""
  there = _assumed.get(None) or jax.devices()
  return sorted(there, key=lambda device: (device.process_index, device.id))


@contextlib.contextmanager
def assumed(there: Sequence[jax.Device]) -> Iterator[None]:
  """Builds meshes from devices that are not attached, for programs that are only compiled."""
  token = _assumed.set(there)
  try:
    with platform.assumed(there[0].platform):
      yield
  finally:
    _assumed.reset(token)


def _of_a_process() -> int:
  there = _assumed.get(None)
  if there is None:
    return jax.local_device_count()
  return sum(device.process_index == there[0].process_index for device in there)


def set_cpu_devices(count: int) -> None:
  """Splits the CPUs of all processes into `count` devices; no effect on other backends.

  In an elastic run each process keeps its share while others are away. A small network uses only
  one core, so members of a population run faster side by side. JAX accepts this only before its
  first computation; later calls change nothing and warn.

  Raises:
    InputError: that many devices cannot be divided among the processes.
  """
  processes = store.hosts()
  own = max(count // processes, 1)
  try:
    jax.config.update('jax_num_cpu_devices', own)
  except RuntimeError:
    there, wanted = jax.device_count(), own * store.count()
    if jax.default_backend() == 'cpu' and there != wanted:
      logging.warning(
        'cpu_devices has no effect: JAX already runs on %d CPU devices, not %d; set it before JAX '
        'computes anything', there, wanted,
      )  # fmt: skip
  if count % processes and jax.default_backend() == 'cpu':
    raise InputError(
      f'cpu_devices = {count}, the number for the whole run, cannot be divided among {processes} '
      f'processes; set --config.cpu_devices to a multiple of {processes}'
    )


def make_mesh(population: Size = 1, data: Size = 1, model: Size = 1) -> Mesh:
  """A mesh ('copy', 'population', 'data', 'model'); -1: all remaining devices.

  It takes the first devices of each process (on a TPU pod all of them, if its size divides their
  number), or all devices of all processes; 'copy' is how often it fits.

  Raises:
    InputError: more devices are requested than exist, they cannot be divided among the processes,
      or two axes are -1.
  """
  there, axes = len(devices()), {'population': population, 'data': data, 'model': model}
  free = [name for name, size in axes.items() if size == -1]
  if len(free) > 1:
    raise InputError(f'mesh.{free[0]} and mesh.{free[1]} cannot both be -1')
  for name, size in axes.items():
    if size < -1 or size == 0:
      raise InputError(f'mesh.{name} must be -1 or at least 1, not {size}')
  shape = ' x '.join(f'{name} {size}' for name, size in axes.items() if size != -1)
  taken = math.prod(size for size in axes.values() if size != -1)
  if taken > there:
    raise InputError(
      f'mesh: {shape} needs {taken} devices, but there are {there}; lower a size or, on a CPU, '
      f'raise cpu_devices'
    )
  axes |= dict.fromkeys(free, there // taken)
  taking = _repeated(math.prod(axes.values()), shape)
  grid = np.asarray(taking).reshape((-1, *axes.values()))
  return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _repeated(count: int, shape: str) -> list[jax.Device]:
  """The devices of a mesh of `count`, repeated as often as it fits, sorted by process."""
  found, own = devices(), _of_a_process()
  there = len(found)
  if count <= own:
    # libtpu compiles for a whole slice, not for some chips of each of its hosts.
    if there > own and found[0].platform == 'tpu' and own % count == 0:
      return found
    return [device for i, device in enumerate(found) if i % own < count]
  if count % own or there % count:
    raise InputError(
      f'mesh: {shape} takes {count} devices, but {there // own} processes have {own} each: '
      f'take at most {own}, or a multiple of {own} that divides {there}'
    )
  return found


def first_of(mesh: Mesh) -> Mesh:
  """A mesh of the first device alone, with the same axes."""
  return Mesh(mesh.devices[:1, :1, :1, :1], AXES, axis_types=mesh.axis_types)


def build_mesh(spec: Mapping[str, int], stage: str, batch_sizes: Sequence[int] = ()) -> Mesh:
  """The mesh of a stage's `mesh` block, checked to split batches of these sizes over 'data'.

  Raises:
    InputError: the mesh is impossible, or it cannot split a batch evenly.
  """
  try:
    mesh = call(make_mesh, spec, 'mesh')
  except InputError as error:
    raise InputError(f'{stage}.{error}') from error
  for size in batch_sizes:
    if size % mesh.shape['data']:
      raise InputError(
        f'{stage}.mesh.data = {mesh.shape["data"]} does not divide a batch of {size}; set it to a '
        f'divisor'
      )
  _warm_up(mesh)
  return mesh


@functools.cache
def _warm_up(mesh: Mesh) -> None:
  """Connects the devices of several processes to one another.

  On CPUs the first collective of a set of devices waits at most 30 s for the others, whatever the
  flags, and processes compile at different speeds: so it runs here, once all have arrived.
  """
  if jax.process_count() == 1 or jax.default_backend() != 'cpu':
    return
  agreement.gathered('warm up')
  multihost_utils.sync_global_devices('l2o')
  wide = [axis for axis in AXES if mesh.shape[axis] > 1]
  for size in range(1, len(wide) + 1):
    for axes in itertools.combinations(wide, size):
      total = jax.shard_map(
        functools.partial(jax.lax.psum, axis_name=axes), mesh=mesh, in_specs=P(), out_specs=P()
      )
      jax.block_until_ready(jax.jit(total)(np.float32(1)))


def shaped(tree: PyTree, places: PyTree) -> PyTree:
  """The shapes of a tree with shardings, to compile for.

  Args:
    tree: arrays or their shapes.
    places: the sharding of each leaf, or one for all.
  """
  if isinstance(places, NamedSharding):
    places = jax.tree.map(lambda x: places, tree)

  def shape(x: Any, place: NamedSharding) -> jax.ShapeDtypeStruct:
    x = x if hasattr(x, 'dtype') else np.asarray(x)
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)

  return jax.tree.map(shape, tree, places)


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of arrays replicated on every device of the mesh."""
  return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh, axis: int) -> NamedSharding:
  """The sharding of batches with axis `axis` split over the mesh's 'data' axis."""
  return NamedSharding(mesh, P(*[None] * axis, 'data'))


def placed(mesh: Mesh, rules: Sequence[tuple[str, Sequence[str | None]]], tree: PyTree) -> PyTree:
  """Shardings for a state, by rules on the paths of its leaves.

  Args:
    mesh: the job's mesh.
    rules: (regular expression, mesh axis or None for each array axis). A leaf takes the first rule
      that is found in its path and has its rank; other leaves are replicated. The path of an
      optimizer's moment ends with the path of its parameter.
    tree: arrays or their shapes.

  Raises:
    InputError: a rule is not (regular expression, axes), an axis is not in the mesh or does not
      divide the array's axis, or a rule matches nothing.
  """
  _check_placement(rules)
  used = set()

  def place(path: tuple, leaf: Any) -> NamedSharding:
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    for number, (pattern, axes) in enumerate(rules):
      if len(axes) == len(leaf.shape) and re.search(pattern, name):
        used.add(number)
        for size, axis in zip(leaf.shape, axes, strict=True):
          if axis is not None and size % mesh.shape[choose(axis, mesh.shape, 'axis of the mesh')]:
            raise InputError(
              f'mesh.{axis} = {mesh.shape[axis]} does not divide {name} of shape {leaf.shape}; '
              f'lower it, or change train.placement'
            )
        return NamedSharding(mesh, P(*axes))
    return replicated(mesh)

  places = jax.tree_util.tree_map_with_path(place, tree)
  unused = [pattern for number, (pattern, _) in enumerate(rules) if number not in used]
  if unused:
    raise InputError(
      f'train.placement: no array of the state matches {unused[0]!r}, has as many axes as that '
      f'rule and is left by the rules before it; correct the rule or remove it'
    )
  return places


def _check_placement(rules: Sequence[Any]) -> None:
  for rule in rules:
    try:
      pattern, axes = rule
      re.compile(pattern)
      sound = all(axis is None or isinstance(axis, str) for axis in axes)
    except (TypeError, ValueError, re.error):
      sound = False
    if not sound or isinstance(axes, str):
      raise InputError(
        f"placement: {rule!r} must be a regular expression and a list of the mesh's axes or None"
      )


def sharded_map(mesh: Mesh, on_device: MapFn) -> MapFn:
  """Spreads a map over the mesh's 'population' axis; `on_device` runs each device's share.

  The leading axis need not be divisible by the devices: it is padded with copies of its last
  entry, whose results are dropped. The results stay spread, see `gathered_map`.
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
      axis_names={'population'},  # 'data' is left to the compiler
      check_vma=False,
    )
    return jax.tree.map(lambda y: y[:count], spread(filled, shared))

  return map_fn


def gathered_map(mesh: Mesh, on_device: MapFn) -> MapFn:
  """`sharded_map`, with its whole result on every device.

  Sums over the results then have a fixed order, and each result crosses devices once.
  """
  spread = sharded_map(mesh, on_device)

  def map_fn(fn: Callable[[Any, Any], Any], xs: PyTree, shared: PyTree) -> PyTree:
    return jax.lax.with_sharding_constraint(spread(fn, xs, shared), replicated(mesh))

  return map_fn


def _fill(x: jax.Array, missing: int) -> jax.Array:
  return jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)]) if missing else x

"""One of two processes that share checkpoints; started by test_two_processes.py."""

import json
import os
import pathlib
import sys
import traceback

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from checkpoints import Checkpoints
from l2o.errors import InputError
from trainers.processes import store
from trainers.processes.agreement import decided

PARTS = {'spread': ('x',), 'columns': (None, 'y'), 'both': ('x', 'y')}


def values(scale):
  """The state's arrays as NumPy: ranks 0 to 4, bfloat16, NaN."""
  noise = np.random.default_rng(0).normal(size=9600).astype(np.float32)
  return {
    'both': (scale * noise / 7).reshape(8, 1200),
    'columns': np.asarray(noise.reshape(30, 320) * scale, jnp.bfloat16),
    'deep': (noise - scale).reshape(2, 2, 3, 800),
    'half': np.asarray([scale, -0.3], jnp.bfloat16),
    'nan': np.asarray([np.nan, scale, -0.0], np.float32),
    'spread': (noise * scale).reshape(8, 400, 3),
    'step': np.int32(scale),
  }


def state(scale, mesh):
  """The same on a mesh with axes x and y, some of them spread."""
  return {
    name: jax.make_array_from_callback(
      x.shape,
      NamedSharding(mesh, PartitionSpec(*PARTS.get(name, ()))),
      lambda index, x=x: np.asarray(x[index]),
    )
    for name, x in values(scale).items()
  }


def same(found, scale, like):
  """Whether this process's parts are those of `values`, bit for bit, with the shardings asked."""
  wanted = values(scale)
  return all(
    x.sharding == like[name].sharding
    and np.asarray(part.data).tobytes() == np.asarray(wanted[name][part.index]).tobytes()
    for name, x in found.items()
    for part in x.addressable_shards
  )


def damage(folder, how):
  """Loses what process 1 wrote of a checkpoint."""
  for path in (folder / 'state' / 'ocdbt.process_1' / 'd').iterdir():
    if how == 'truncated':
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
      path.unlink()


def run(folder):
  mesh = Mesh(np.asarray(jax.devices()).reshape(2, 2), ('x', 'y'))
  other = Mesh(np.asarray(jax.devices()).reshape(4, 1), ('x', 'y'))
  found = {}

  def restore(name, scale, mesh=mesh, place='pair'):
    saved = Checkpoints(folder / place, keep=3, decided=decided)
    like = state(0, mesh)
    restored, step = saved.restore_or(like)
    found[name] = (step, same(restored, scale, like))
    return saved

  saved = restore('nothing', 0)
  for number in (1, 2, 3):
    saved.save(number, state(number, mesh))
  saved.close()
  restore('all', 3).close()
  first, second = (Checkpoints(folder / name / 'checkpoints', decided=decided) for name in 'ab')
  for number in (1, 2):
    first.save(number, state(number, mesh))
    second.save(number, state(number + 5, mesh))  # while the first still writes
  for saved in (second, first):
    saved.close()
  restore('first of two', 2, place='a/checkpoints').close()
  restore('second of two', 7, place='b/checkpoints').close()
  restore('another mesh', 3, other).close()
  restore('one process', 5, place='alone').close()
  try:
    Checkpoints(folder / 'pair', decided=decided).restore_or({'step': state(0, mesh)['step']})
  except InputError as error:
    found['another tree'] = str(error)
  for number, how in ((3, 'truncated'), (2, 'deleted')):
    if store.is_first():
      damage(folder / 'pair' / str(number), how)
    saved = restore(how, number - 1)
  saved.save(2, state(12, mesh))
  saved.close()
  restore('saved again', 12).close()
  (folder / f'found-{store.index()}.json').write_text(json.dumps(found))


if __name__ == '__main__':
  jax.config.update('jax_num_cpu_devices', 2)
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  address, index, folder = sys.argv[1:]
  jax.distributed.initialize(
    address, 2, int(index), coordinator_bind_address=address, initialization_timeout=30
  )
  multihost_utils.sync_global_devices('warm')
  try:
    run(pathlib.Path(folder))
  except BaseException:
    traceback.print_exc()
    os._exit(1)  # at its exit JAX would wait for the other

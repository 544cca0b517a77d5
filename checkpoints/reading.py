"""Checkpoints read as NumPy by one process, checked, and placed on devices."""

import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from checkpoints import manifest
from l2o.errors import InputError
from l2o.types import PyTree

ALONE = ocp.options.MultiprocessingOptions(
  primary_host=0, active_processes={0}, barrier_sync_key_prefix='alone'
)


class DamagedError(Exception):
  """A checkpoint differs from what was saved; the message says how."""


def read(folder: pathlib.Path, like: PyTree) -> PyTree:
  """The arrays of a checkpoint, as NumPy; needs no other process.

  Args:
    folder: the checkpoint's folder, named by its number.
    like: a tree with its structure, shapes and dtypes.

  Raises:
    InputError: the checkpoint holds a different tree; the message names what differs.
    DamagedError: it differs from what was saved; Orbax may raise any other exception.
  """
  handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=ALONE)
  place = epath.Path(folder.absolute()) / 'state'
  _compare(_leaves(handler.metadata(place)), _leaves(like), folder)
  wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), like)
  as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
  state = handler.restore(place, args=ocp.args.PyTreeRestore(wanted, restore_args=as_numpy))
  handler.close()
  _check(manifest.read(folder / 'manifest'), state, int(folder.name))
  return state


def place(arrays: PyTree, like: PyTree) -> PyTree:
  """NumPy arrays with the shardings of `like`."""

  def put(array: Any, like: Any) -> Any:
    sharding = getattr(like, 'sharding', None)
    if sharding is None:
      return array
    # `device_put` would compare the values of all processes, slowly, and refuse NaN.
    return jax.make_array_from_callback(np.shape(array), sharding, lambda index: array[index])

  return jax.tree.map(put, arrays, like)


def _check(held: dict[str, Any], state: PyTree, step: int) -> None:
  if held.get(manifest.STEP, step) != step:
    raise DamagedError(f'it was saved as checkpoint {held[manifest.STEP]}')
  for name, digest in manifest.digests(manifest.named(state)).items():
    if held.get(name) != digest:
      raise DamagedError(f'{name} is not what was saved')


def _compare(saved: dict[str, str], wanted: dict[str, str], folder: pathlib.Path) -> None:
  """Compares dtypes and shapes, since Orbax casts silently to the requested dtype."""
  for name in sorted(saved.keys() | wanted.keys()):
    if saved.get(name) != wanted.get(name):
      raise InputError(
        f'checkpoint {folder.name} in {folder.parent} has {name} = {saved.get(name, "nothing")} '
        f'where this config has {wanted.get(name, "nothing")}: use another workdir'
      )


def _leaves(tree: Any) -> dict[str, str]:
  """Path -> 'dtype[shape]'."""
  return {name: f'{x.dtype}{list(x.shape)}' for name, x in manifest.named(tree).items()}

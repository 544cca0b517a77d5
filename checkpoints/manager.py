"""Orbax checkpoints of a training state: saved in the background, restored with a check.

Each state has a manifest with a digest of every leaf: file formats detect a truncated file, but a
single flipped bit would silently be read as a different number.
"""

import hashlib
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from l2o.errors import InputError
from l2o.types import PyTree

STEP = '(step)'  # stored in the manifest with the leaves, in case a folder was renamed


class DamagedError(Exception):
  """A checkpoint differs from what was saved; the message says how."""


class Checkpoints:
  """The checkpoints of one stage, in a folder of their own.

  Args:
    folder: their location; created if needed.
    every_secs: time between saves, see `is_due`.
    keep: how many of the newest to keep.
  """

  def __init__(
    self, folder: pathlib.Path, every_secs: float = 60.0, keep: int = 2, decided: Any = None
  ):
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    handlers: Any = {
      'state': ocp.StandardCheckpointHandler(),
      'manifest': ocp.JsonCheckpointHandler(),
    }
    self._manager = ocp.CheckpointManager(
      folder.absolute(), item_handlers=handlers, options=options
    )
    self._folder = folder
    self._every_secs = every_secs
    self._last = time.monotonic()

  def restore_or(self, state: PyTree) -> tuple[PyTree, int]:
    """The newest valid checkpoint, with the shapes, dtypes and shardings of `state`, or `state`.

    A checkpoint that is incomplete, unreadable or does not match its manifest is reported and
    moved to a folder next to this one.

    Returns:
      The state, and the steps it has done (0 if there is no checkpoint).

    Raises:
      InputError: the checkpoint holds a different tree; the message names what differs.
    """
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        return self._restore(step, state), step
      except InputError:
        raise
      except Exception as error:  # Orbax and its file formats may raise anything
        logging.warning(
          'checkpoint %d in %s cannot be read and is moved to %s; the one before it is used (%s)',
          step, self._folder, self._set_aside(step), str(error).split('\n')[0][:200],
        )  # fmt: skip
    return state, 0

  def is_due(self) -> bool:
    """Whether `every_secs` have passed since the last save."""
    return time.monotonic() - self._last >= self._every_secs

  def save(self, step: int, state: PyTree) -> None:
    """Saves unless `step` is already saved; writes in the background."""
    if step in self._manager.all_steps():
      return
    # A copy: the caller's next step may donate these buffers while Orbax still reads them.
    copy = jax.tree.map(jnp.copy, state)
    items = {
      'state': ocp.args.StandardSave(copy),
      'manifest': ocp.args.JsonSave({**_digests(copy), STEP: step}),
    }
    self._manager.save(step, args=ocp.args.Composite(**items))
    self._last = time.monotonic()

  def close(self) -> None:
    """Waits for pending writes."""
    self._manager.close()

  def _set_aside(self, step: int) -> pathlib.Path:
    """Moves a checkpoint out of the manager's folder, but keeps it for the user."""
    aside = self._folder.with_name(f'{self._folder.name}_unreadable')
    aside.mkdir(exist_ok=True)
    number = len([path for path in aside.iterdir() if path.name.partition('-')[0] == str(step)])
    target = aside / (f'{step}-{number}' if number else str(step))
    (self._folder / str(step)).rename(target)
    self._manager.reload()
    return target

  def _restore(self, step: int, state: PyTree) -> PyTree:
    saved = self._manager.item_metadata(step).state
    if saved is None:
      raise DamagedError('its metadata are missing')
    self._compare(_leaves(saved), state, step)
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
    items = {'state': ocp.args.StandardRestore(abstract), 'manifest': ocp.args.JsonRestore()}
    restored = self._manager.restore(step, args=ocp.args.Composite(**items))
    if restored.manifest.get(STEP, step) != step:
      raise DamagedError(f'it was saved as checkpoint {restored.manifest[STEP]}')
    for name, digest in _digests(restored.state).items():
      if restored.manifest.get(name) != digest:
        raise DamagedError(f'{name} is not what was saved')
    return restored.state

  def _compare(self, saved: dict[str, str], state: PyTree, step: int) -> None:
    """Compares the saved dtypes and shapes, since Orbax casts silently to the requested dtype."""
    wanted = _leaves(state)
    for name in sorted(saved.keys() | wanted.keys()):
      if saved.get(name) != wanted.get(name):
        raise InputError(
          f'checkpoint {step} in {self._folder} has {name} = {saved.get(name, "nothing")} '
          f'where this config has {wanted.get(name, "nothing")}: use another workdir'
        )


def _named(tree: PyTree) -> dict[str, Any]:
  """Path -> leaf; fields, keys and positions are written alike, as Orbax does."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator='/'): x for path, x in leaves}


def _leaves(tree: Any) -> dict[str, str]:
  """Path -> 'dtype[shape]'."""
  return {name: f'{x.dtype}{list(x.shape)}' for name, x in _named(tree).items()}


def _digests(tree: PyTree) -> dict[str, str]:
  """Path -> SHA-256 of the leaf's bytes."""
  return {
    name: hashlib.sha256(np.asarray(x).tobytes()).hexdigest() for name, x in _named(tree).items()
  }

"""Orbax checkpoints of a training state: saved in the background, restored with a check.

With several processes, each writes what its devices hold and process 0 commits; a damaged file may
stop only some of them, so process 0 alone checks a checkpoint before all restore it.
"""

import contextlib
import errno
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging

from checkpoints import manifest, reading
from l2o.errors import InputError, RunError, first_line
from l2o.types import PyTree

UNFINISHED = '*.orbax-checkpoint-tmp*'  # Orbax's names of folders that it has not committed
FULL = ('RESOURCE_EXHAUSTED', os.strerror(errno.ENOSPC))  # TensorStore's words for it
Decided = Callable[[Callable[[], Any]], Any]


def alone(decide: Callable[[], Any]) -> Any:
  """Returns what the only process decides."""
  return decide()


class Checkpoints:
  """The checkpoints of one stage, in a folder of their own.

  All processes create it and call `restore_or`, `save` and `close` in the same order.

  Args:
    folder: their location; created if needed, and cleaned of checkpoints that were never finished.
    every_secs: time between saves, see `is_due`.
    keep: how many of the newest to keep.
    decided: calls a function in process 0 alone; returns or raises its outcome in all processes.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    every_secs: float = 60.0,
    keep: int = 2,
    decided: Decided = alone,
  ):
    self._folder = folder
    self._every_secs = every_secs
    self._decided = decided
    self._last = time.monotonic()
    decided(lambda: _prepare(folder))
    self._manager = _manager(folder, keep)

  def restore_or(self, state: PyTree) -> tuple[PyTree, int]:
    """The newest valid checkpoint, with the shapes, dtypes and shardings of `state`, or `state`.

    A checkpoint that is incomplete, unreadable or does not match its manifest is reported and
    moved to a folder next to this one. It may have been saved by a different number of processes
    and on a different mesh.

    Returns:
      The state, and the steps it has done (0 if there is no checkpoint).

    Raises:
      InputError: the checkpoint holds a different tree; the message names what differs.
    """
    self._manager.wait_until_finished()
    read: list[PyTree] = []  # read by process 0 only
    step = self._decided(lambda: self._newest(state, read))
    self._manager.reload()
    if not step:
      return state, 0
    if jax.process_count() == 1:
      return reading.place(read.pop(), state), step
    read.clear()
    return self._restore(step, state), step

  def is_due(self) -> bool:
    """Whether `every_secs` have passed since the last save; by this process's clock."""
    return time.monotonic() - self._last >= self._every_secs

  def save(self, step: int, state: PyTree) -> None:
    """Saves `state` unless `step` is already saved.

    Waits until Orbax has the values on the host; digests and files are written in the background.

    Raises:
      RunError: this checkpoint or the one before it could not be written.
    """
    if step in self._manager.all_steps():
      return
    # A copy: the caller's next step may donate these buffers while Orbax still reads them.
    copy = jax.tree.map(jnp.copy, state)
    items = {
      'state': ocp.args.StandardSave(copy),
      'manifest': manifest.ManifestSave(manifest.whole(copy), step),
    }
    with self._writing():
      self._manager.save(step, args=ocp.args.Composite(**items))
    self._last = time.monotonic()

  def close(self) -> None:
    """Waits for pending writes.

    Raises:
      RunError: a checkpoint could not be written.
    """
    with self._writing():
      self._manager.close()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """Says what went wrong: TensorStore raises long ValueErrors, even when the disk is full."""
    try:
      yield
    except (OSError, ValueError) as error:
      full = any(sign in str(error) for sign in FULL)
      reason = os.strerror(errno.ENOSPC) if full else first_line(error)[:200]
      raise RunError(
        f'{self._folder}: a checkpoint cannot be written ({reason}); fix this and give the '
        f'same command again'
      ) from error

  def _newest(self, state: PyTree, read: list[PyTree]) -> int:
    """The number of the newest valid checkpoint, whose arrays are added to `read`, or 0."""
    for step in sorted(map(int, self._manager.all_steps()), reverse=True):  # NumPy's if broadcast
      try:
        read.append(reading.read(self._folder / str(step), state))
        return step
      except InputError:
        raise
      except Exception as error:  # Orbax and its file formats may raise anything
        logging.warning(
          'checkpoint %d in %s cannot be read (%s) and is moved to %s; the run resumes from the '
          'one before it, if there is one',
          step, self._folder, str(error).split('\n')[0][:200], self._set_aside(step),
        )  # fmt: skip
    return 0

  def _set_aside(self, step: int) -> pathlib.Path:
    """Moves a checkpoint out of the manager's folder, but keeps it for the user."""
    aside = self._folder.with_name(f'{self._folder.name}_unreadable')
    aside.mkdir(exist_ok=True)
    number = len([path for path in aside.iterdir() if path.name.partition('-')[0] == str(step)])
    target = aside / (f'{step}-{number}' if number else str(step))
    (self._folder / str(step)).rename(target)
    return target

  def _restore(self, step: int, state: PyTree) -> PyTree:
    """Reads in each process what its devices hold."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
    items = {'state': ocp.args.StandardRestore(abstract)}
    return self._manager.restore(step, args=ocp.args.Composite(**items)).state


def _prepare(folder: pathlib.Path) -> None:
  """Creates the folder, and deletes what killed runs left unfinished there."""
  folder.mkdir(parents=True, exist_ok=True)
  for path in folder.glob(UNFINISHED):
    shutil.rmtree(path)


def _manager(folder: pathlib.Path, keep: int) -> ocp.CheckpointManager:
  count = jax.process_count()
  processes = ocp.options.MultiprocessingOptions(
    # If named, they meet at the coordination service; a collective would wait for the devices.
    active_processes=set(range(count)) if count > 1 else None,
    # Stages save to several folders at the same time.
    barrier_sync_key_prefix='/'.join(folder.absolute().parts[-2:]),
  )
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep,
    create=False,
    multiprocessing_options=processes,
    single_host_load_and_broadcast=count > 1,  # a shared disk may show files to some hosts later
  )
  handlers: Any = {
    'state': ocp.StandardCheckpointHandler(multiprocessing_options=processes),
    'manifest': manifest.ManifestHandler(),
  }
  return ocp.CheckpointManager(folder.absolute(), item_handlers=handlers, options=options)

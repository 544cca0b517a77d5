"""How long a stage has taken, kept over its starts."""

import time

import jax

from l2o.errors import InputError
from trainers.harness.folder import TIMES, Folder


class Times:
  """Writes `times.json`: for each start of a stage its first and last step, seconds and devices.

  Args:
    folder: the stage's folder.
    start: steps already done.
  """

  def __init__(self, folder: Folder, start: int):
    self._folder, self._start, self._begun = folder, start, time.monotonic()
    self._before = _read(folder)

  def write(self, done: int) -> None:
    """Records that `done` steps are done by now, unless this start has done none."""
    if done > self._start:
      seconds = round(time.monotonic() - self._begun, 3)
      now = {'start': self._start, 'stop': done, 'seconds': seconds, 'devices': _devices()}
      self._folder.write_json(TIMES, [*self._before, now])


def _devices() -> str:
  found = jax.devices()
  return f'{len(found)} {found[0].device_kind}'


def _read(folder: Folder) -> list[object]:
  """The records of earlier starts; empty if the file is damaged."""
  try:
    found = folder.read_json(TIMES, '')
  except InputError:
    return []
  return found if isinstance(found, list) else []

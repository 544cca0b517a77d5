"""The key-value store that the processes of a run share: the one of JAX's coordination service.

It needs neither devices nor collectives, so it works before a backend exists, and while another
process hangs in a computation.
"""

import math
import sys
import types
from typing import Any, Protocol

from trainers.processes import progress, rounds

FOREVER_SECS = 7 * 24 * 3600.0  # the watch ends a process whose peer is lost long before this


class Store(Protocol):
  """A store where processes leave text for one another."""

  def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None: ...
  def blocking_key_value_get(self, key: str, timeout_in_ms: int) -> str: ...
  def key_value_dir_get(self, key: str) -> list[tuple[str, str]]: ...
  def key_value_delete(self, key: str) -> None: ...


def count() -> int:
  """The number of processes of this run; does not initialise JAX's devices."""
  return _distributed().num_processes or 1


def hosts() -> int:
  """The number of processes that the command names; in an elastic run some may be away."""
  elastic = rounds.mine()
  return elastic.hosts if elastic else count()


def index() -> int:
  """This process's number, from 0."""
  return _distributed().process_id or 0


def is_first() -> bool:
  """Whether this process decides, writes and prints for all."""
  return index() == 0


def shared() -> Store:
  """The store of this run.

  Raises:
    RuntimeError: the run has one process.
  """
  client = _distributed().client
  if client is None:
    raise RuntimeError('one process has nobody to share a store with')
  return client


def get(key: str, secs: float = FOREVER_SECS) -> str:
  """The text left under a key; waits until it is there.

  Raises:
    jax.errors.JaxRuntimeError: nothing is left there within the time.
  """
  with progress.waiting():
    return shared().blocking_key_value_get(key, math.ceil(secs * 1000))


def _distributed() -> Any:
  if 'jax' not in sys.modules:  # nothing is connected, and the import takes a second
    return types.SimpleNamespace(num_processes=1, process_id=0, client=None)
  # JAX has no public name for its coordination client; `multihost_utils` offers only collectives,
  # which wait forever if a peer is missing.
  from jax._src import distributed

  return distributed.global_state

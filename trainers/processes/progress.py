"""When this process last made progress: cheap marks left by the loops, read by the watch."""

import contextlib
import time
from collections.abc import Iterator

_last = time.monotonic()
_waits = 0


def progressed() -> None:
  """Records that the run has made progress."""
  global _last
  _last = time.monotonic()


@contextlib.contextmanager
def waiting() -> Iterator[None]:
  """Time spent waiting for other processes does not count as idle."""
  global _waits
  _waits += 1
  try:
    yield
  finally:
    _waits -= 1
    progressed()


def idle_secs() -> float:
  """Seconds without progress; 0 while waiting for other processes."""
  return 0.0 if _waits else time.monotonic() - _last

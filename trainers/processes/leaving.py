"""How a process ends early: with one sentence, printed once, and without waiting inside JAX."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from l2o.errors import InputError, RunError

LOST = 5  # exit code if another process was lost or failed
TERMINATED, INTERRUPTED = 128 + signal.SIGTERM, 128 + signal.SIGINT
RESUMES = 'the same command resumes from the last checkpoint'
FLUSH_SECS = 2.0
_begun = threading.Lock()


def refuse(error: InputError | RunError) -> NoReturn:
  """Ends this process with one sentence and the error's exit code."""
  print(f'error: {error}', file=sys.stderr)
  sys.exit(error.exit_code)


def begin() -> bool:
  """Whether the caller is the first to end this process; anyone else must leave it alone."""
  return _begun.acquire(blocking=False)


def has_begun() -> bool:
  """Whether this process is about to end."""
  return _begun.locked()


def say(sentence: object) -> None:
  """Writes an error straight to stderr, even if Python's own stderr is locked."""
  os.write(2, f'error: {sentence}\n'.encode())


def bounded(do: Callable[[], object], secs: float) -> None:
  """Does something that may hang or fail, such as a call to a process that may be gone."""

  def quietly() -> None:
    with contextlib.suppress(Exception):  # this process ends for another reason, already reported
      do()

  thread = threading.Thread(target=quietly, daemon=True)
  thread.start()
  thread.join(secs)


def now(code: int) -> NoReturn:
  """Ends this process at once: on a normal exit JAX waits for the others."""
  for stream in (sys.stdout, sys.stderr):
    bounded(stream.flush, FLUSH_SECS)
  os._exit(code)

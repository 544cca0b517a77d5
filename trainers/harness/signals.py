"""Graceful SIGTERM: the current step is finished and saved before the run ends."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from l2o.errors import RunError


class TerminatedError(RunError):
  """The run was asked to stop and has saved its state."""

  exit_code = 128 + signal.SIGTERM


class Request:
  """Whether the run has been asked to stop."""

  def __init__(self) -> None:
    self.made = False

  def __call__(self, signum: int, frame: Any) -> None:
    self.made = True


@contextlib.contextmanager
def on_sigterm() -> Iterator[Request]:
  """Turns SIGTERM into a stop request inside the context.

  Python handles signals only in the main thread; in any other, the request is never set.
  """
  request = Request()
  if threading.current_thread() is not threading.main_thread():
    yield request
    return
  before = signal.signal(signal.SIGTERM, request)
  try:
    yield request
  finally:
    signal.signal(signal.SIGTERM, before)

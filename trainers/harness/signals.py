"""Graceful SIGTERM: the current step is finished and saved before the run ends."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from l2o.errors import RunError
from trainers.processes import agreement


class TerminatedError(RunError):
  """The run was asked to stop and has saved its state."""

  exit_code = 128 + signal.SIGTERM


class Request:
  """Whether the run has been asked to stop."""

  def __init__(self) -> None:
    self.made = False

  def __call__(self, signum: int, frame: Any) -> None:
    self.made = True


_active: list[Request] = []


@contextlib.contextmanager
def on_sigterm() -> Iterator[Request]:
  """Turns SIGTERM into a stop request inside the context; nested contexts share one request.

  Python handles signals only in the main thread; in other threads the request is never set.
  """
  if threading.current_thread() is not threading.main_thread():
    yield Request()
    return
  if _active:
    yield _active[0]
    return
  _active.append(Request())
  before = signal.signal(signal.SIGTERM, _active[0])
  try:
    yield _active[0]
  finally:
    signal.signal(signal.SIGTERM, before)
    _active.clear()


@contextlib.contextmanager
def held_back() -> Iterator[None]:
  """Defers a SIGTERM to the end of the context, for the handler that was set before it.

  JAX sets its own handler when processes connect.
  """
  handler = signal.getsignal(signal.SIGTERM)
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_if_asked() -> None:
  """Ends a run of several processes that was asked to stop before its first stage.

  Raises:
    TerminatedError: in all processes, if any of them got a SIGTERM.
  """
  if _active and any(agreement.gathered(_active[0].made)):
    raise TerminatedError('ended by SIGTERM before anything was computed')

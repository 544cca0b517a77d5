"""A small process that waits beside the worker, and reports what the worker cannot.

When the coordinator is gone, JAX ends a process by a signal, which leaves it no way to say why.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainers.processes import leaving
from trainers.processes.flags import Command

LINK = 'L2O_PARENT'  # in the worker's environment: the pipe to its parent, and the parent's pid
POLL_SECS = 0.5
SET_PDEATHSIG = 1  # Linux's prctl
_link: int | None = None


def is_worker() -> bool:
  """Whether this process was started by `run`."""
  return LINK in os.environ


def attach() -> None:
  """In the worker: opens the pipe to the parent, dies with it (on Linux), unblocks SIGTERM."""
  global _link
  _link, number = map(int, os.environ.pop(LINK).split(':'))
  os.set_inheritable(_link, False)
  os.set_blocking(_link, False)
  if sys.platform == 'linux':
    ctypes.CDLL(None).prctl(SET_PDEATHSIG, signal.SIGKILL)
  if os.getppid() != number:
    os._exit(128 + signal.SIGKILL)
  signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def tell(message: str) -> None:
  """In the worker: sends one line to the parent, if there is one."""
  if _link is not None:
    with contextlib.suppress(OSError):
      os.write(_link, f'{message}\n'.encode())


def run(command: Command) -> int:
  """Starts this process's own command as the worker and waits for it; returns its exit code."""
  with _forwarding() as forward:
    worker = Worker(command)
    forward(worker.process)
    worker.listen()
    return worker.exit_code()


class Worker:
  """The worker process, as its parent sees it.

  Args:
    command: what the flags of this process say.
    environment: variables that the worker has besides those of this process.
  """

  def __init__(self, command: Command, environment: Mapping[str, str] | None = None):
    self._read, write = os.pipe()
    self.process = _start(write, environment or {})
    os.close(write)
    self._said = _Said(command)
    self._silent_polls = int(2 * command.limits.lost / POLL_SECS)

  @property
  def saved(self) -> str:
    """What the worker saved last."""
    return self._said.saved

  def listen(self) -> None:
    """Listens to the worker until it ends."""
    _listen(self._read, self.process, self._said, self._silent_polls)

  def exit_code(self) -> int:
    """The exit code of its end, after reporting what it could not."""
    return self._said.exit_code(self.process.wait())


def _start(write: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
  # All threads of the worker inherit the blocked signal, so SIGTERM waits for its main thread.
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
  try:
    return subprocess.Popen(
      [sys.executable, *sys.orig_argv[1:]],
      env=os.environ | {LINK: f'{write}:{os.getpid()}', **environment},
      pass_fds=[write],
      process_group=0,  # otherwise a Ctrl-C would reach it twice
      stdin=subprocess.DEVNULL,
    )
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _forwarding() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
  """Passes SIGTERM and SIGINT on, including those that come before there is a worker."""
  workers: list[subprocess.Popen[bytes]] = []
  early: list[int] = []

  def handle(number: int, frame: Any) -> None:
    if workers:
      workers[0].send_signal(number)
    else:
      early.append(number)

  def forward(worker: subprocess.Popen[bytes]) -> None:
    workers.append(worker)
    for number in early:
      worker.send_signal(number)

  before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield forward
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _listen(read: int, worker: subprocess.Popen[bytes], said: '_Said', silent_polls: int) -> None:
  """Listens to the worker until it ends; kills it if it falls silent once it is running."""
  silent, open_ = 0, True
  while worker.poll() is None:
    # Polls are counted instead of seconds: a machine that slept is not the worker's fault.
    if open_ and select.select([read], [], [], POLL_SECS)[0]:
      heard = os.read(read, 1 << 16)
      said.hear(heard)
      silent, open_ = 0, bool(heard)
    elif open_:
      silent += said.is_running
      if silent > silent_polls:
        said.is_silent = True
        worker.kill()
        worker.wait()
    else:
      with contextlib.suppress(subprocess.TimeoutExpired):
        worker.wait(POLL_SECS)
  os.set_blocking(read, False)
  with contextlib.suppress(BlockingIOError):
    said.hear(os.read(read, 1 << 16))
  os.close(read)


class _Said:
  """What a worker told its parent, and what the worker's end means."""

  def __init__(self, command: Command) -> None:
    self.is_running = self.is_silent = False
    self._seconds = 2 * command.limits.lost
    self._index, self._count = command.index, command.count
    self._leaving: int | None = None
    self.saved = ''
    self._rest = b''

  def hear(self, heard: bytes) -> None:
    *lines, self._rest = (self._rest + heard).split(b'\n')
    for line in lines:
      what, *numbers = line.decode().split()
      if what == 'saved':
        self.saved = ' '.join(numbers)
      elif what == 'running':
        self.is_running = True
        self._index, self._count = map(int, numbers or (self._index, self._count))
      elif what == 'leaving':
        self._leaving = int(numbers[0])

  def exit_code(self, code: int) -> int:
    """The exit code for a worker that ended with `code`, after reporting what it could not."""
    if code >= 0:
      return code
    if self._leaving is not None:  # it had already said why
      return self._leaving
    sentence, code = self._meaning(signal.Signals(-code))
    leaving.say(sentence)
    return code

  def _meaning(self, by: signal.Signals) -> tuple[str, int]:
    me = f'process {self._index} of {self._count}' if self._count else 'this process'
    if self.is_silent:
      silent = f'{me} gave no sign of life for {self._seconds} s and was ended'
      return f'{silent}; {leaving.RESUMES}', leaving.LOST
    if by == signal.SIGKILL:
      return f'{me} was killed, perhaps for want of memory; {leaving.RESUMES}', 128 + by
    if not self.is_running and by in (signal.SIGTERM, signal.SIGINT):
      return f'{me} was ended by {by.name} while starting; nothing was computed', 128 + by
    if not self.is_running:
      return f'JAX could not start {me} ({by.name}); the lines above say why', 2
    if by == signal.SIGABRT and self._index:
      lost = f'process 0 of {self._count} is lost, and the coordination service with it'
      return f'{lost}; {leaving.RESUMES}', leaving.LOST
    return f'{me} was ended by {by.name}; {leaving.RESUMES}', 128 + by

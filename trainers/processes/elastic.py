"""The parent's side of an elastic run: it starts a worker for each round that process 0 announces.

When a process is lost, the others start again from the last checkpoint without it, and again when
it is back. Data, noise and tasks are functions of their numbers, so the results are the same.
"""

import contextlib
import hashlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from l2o.errors import InputError, first_line
from trainers.processes import leaving, meeting, parent, preflight, worker
from trainers.processes.flags import Command
from trainers.processes.rounds import Round

POLL_SECS = 0.1


def run(command: Command, alike: Mapping[str, Any]) -> int:
  """Takes part in the rounds of an elastic run until it ends; returns the exit code.

  Args:
    command: what the flags of this process say.
    alike: name -> plain data that must be equal in all processes.

  Raises:
    InputError: process 0 cannot be reached, or refuses this process.
  """
  text = json.dumps({**alike, **worker.software()}, sort_keys=True, default=str)
  digest = hashlib.sha256(text.encode()).hexdigest()
  with contextlib.ExitStack() as stack:
    if command.index == 0:
      stack.callback(meeting.Meeting(command, digest).close)
    host = _Host(command, digest)
    stack.enter_context(host.hearing_signals())
    stack.callback(host.kill)
    return host.work()


class _EndedError(Exception):
  """The run has ended for this process."""

  def __init__(self, code: int) -> None:
    self.code = code


class _Host:
  """One process of the run: its worker, and its connection to process 0."""

  def __init__(self, command: Command, digest: str) -> None:
    self._command, self._digest = command, digest
    self._asked = 0  # the signal that this parent received
    self._number = 0  # of the last round
    self._worker: parent.Worker | None = None
    self._listener: threading.Thread | None = None
    self._saved = ''
    self._was_killed = False

  def work(self) -> int:
    try:
      while True:
        with contextlib.suppress(OSError), self._met() as line:
          self._serve(line)
        self.kill()  # process 0 is gone, and JAX's coordinator with it
    except _EndedError as ended:
      return ended.code

  @contextlib.contextmanager
  def hearing_signals(self) -> Iterator[None]:
    """Passes SIGTERM and SIGINT on to the worker; no new round starts after one."""

    def handle(number: int, frame: Any) -> None:
      self._asked = self._asked or number
      self._signal(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
      yield
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)

  def _signal(self, number: int) -> None:
    if self._worker is not None:
      self._worker.process.send_signal(number)

  def kill(self) -> None:
    """Ends the worker, if there is one."""
    self._was_killed = True
    if self._worker is not None and self._listener is not None:
      self._worker.process.kill()
      self._listener.join()
      self._worker = None

  def _met(self) -> '_Line':
    """A connection to process 0, once it has accepted this process."""
    command, sentence = self._command, ''
    answer: Mapping[str, Any] = {}
    until = time.monotonic() + command.limits.start
    while time.monotonic() < until:
      self._stop_if_asked()
      try:
        line = _Line(command)
      except OSError as error:
        answer = {}
        sentence = preflight.unmet(command, error.strerror or first_line(error))
      else:
        answer = line.introduce(command, self._digest, self._number)
        if answer.get('accepted'):
          return line
        line.close()
        sentence = answer.get('refusal') or preflight.unmet(command, 'something else answers there')
        if answer.get('refusal') and not answer.get('later'):
          break
      time.sleep(preflight.RETRY_SECS)
    if not self._number or answer.get('refusal'):
      raise InputError(sentence)
    leaving.say(
      f'process 0 of {command.count} is lost, and did not come back to {command.address} within '
      f'{command.limits.start} s (--start_secs); {leaving.RESUMES}'
    )
    raise _EndedError(leaving.LOST)

  def _stop_if_asked(self) -> None:
    if self._asked and self._worker is None:
      raise _EndedError(128 + self._asked)

  def _serve(self, line: '_Line') -> None:
    """Does what process 0 says, until the connection ends."""
    beaten = heard = time.monotonic()
    while time.monotonic() - heard < self._command.limits.lost:
      for said in line.hear():
        heard = time.monotonic()
        self._obey(said)
      self._report(line)
      if self._asked and self._worker is None:
        line.say(parts=128 + self._asked)
        self._stop_if_asked()
      if time.monotonic() - beaten > meeting.BEAT_SECS:
        beaten = time.monotonic()
        line.say(beat=True)

  def _obey(self, said: Mapping[str, Any]) -> None:
    order = said.get('order')
    if order == 'round':
      self._number = said['number']
      if not self._asked:
        about = {name: said[name] for name in Round._fields[:-1]}
        self._start(Round(**about, hosts=self._command.count))
    elif order == 'pause':
      self._signal(signal.SIGTERM)
    elif order == 'kill':
      self._was_killed = True
      self._signal(signal.SIGKILL)
    elif order == 'end':
      if said['sentence']:
        leaving.say(said['sentence'])
      raise _EndedError(said['code'])

  def _start(self, new: Round) -> None:
    self.kill()
    self._was_killed = False
    self._worker = parent.Worker(self._command, new.environment())
    self._listener = threading.Thread(target=self._worker.listen, daemon=True)
    self._listener.start()
    if self._asked:  # since the order came
      self._signal(self._asked)

  def _report(self, line: '_Line') -> None:
    """Tells process 0 that the worker has ended."""
    if self._worker is None or self._listener is None or self._listener.is_alive():
      return
    code = self._worker.process.wait()
    killed = code < 0
    if not self._was_killed:
      code = self._worker.exit_code()
    ended = [code, killed, bool(self._asked), self._worker.saved]
    self._worker = None
    line.say(ended=ended, number=self._number)


class _Line:
  """A connection to process 0."""

  def __init__(self, command: Command) -> None:
    address = (command.host, command.port)
    self._socket = socket.create_connection(address, timeout=5 * preflight.RETRY_SECS)
    self._rest = b''
    self._unread: list[Mapping[str, Any]] = []

  def __enter__(self) -> '_Line':
    return self

  def __exit__(self, *error: object) -> None:
    self.close()

  def close(self) -> None:
    self._socket.close()

  def say(self, **said: Any) -> None:
    self._socket.settimeout(meeting.FAREWELL_SECS)
    self._socket.sendall(preflight.encode(**said))

  def introduce(self, command: Command, digest: str, number: int) -> Mapping[str, Any]:
    """Identifies this process; returns the answer, which is empty if it comes from a stranger."""
    until = time.monotonic() + preflight.VERDICT_SECS
    with contextlib.suppress(OSError):
      who = {'index': command.index, 'count': command.count, 'elastic': True}
      self.say(**who, digest=digest, number=number)
      while time.monotonic() < until:
        said = self.hear()
        if said:
          self._unread = said[1:]  # an order may come with the answer
          return said[0]
    return {}

  def hear(self) -> list[Mapping[str, Any]]:
    """The messages since the last call, after a short wait.

    Raises:
      OSError: the connection has ended, or a stranger is at the other end.
    """
    if self._unread:
      unread, self._unread = self._unread, []
      return unread
    self._socket.settimeout(POLL_SECS)
    try:
      more = self._socket.recv(preflight.MOST_BYTES)
    except TimeoutError:
      return []
    *lines, self._rest = (self._rest + more).split(b'\n')
    said = [preflight.decode(line) for line in lines]
    if not more or None in said or len(self._rest) > preflight.MOST_BYTES:
      raise ConnectionError('something else answers there')
    return [one for one in said if one is not None]

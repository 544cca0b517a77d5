"""Checks that all processes of a run are there, before JAX connects them.

JAX aborts if a process is missing or a port taken, and misses a wrong number of processes. Here
process 0 listens on the coordinator's port and the others introduce themselves, each with one line
of JSON; once all are there, or one is wrong, all that are present get the same answer.
"""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from l2o.errors import InputError, first_line
from trainers.processes.flags import Command

MAGIC = 'l2o processes 1'  # the protocol and its version
MOST_BYTES = 4096  # of a line
HELLO_SECS = 10.0  # a connection that is silent for this long is a stranger's
LINGER_SECS = 3.0  # after a refusal, for processes that are about to come
VERDICT_SECS = 10.0  # how much longer than process 0 the others wait, for its verdict
RETRY_SECS = 0.2

Stop = Callable[[], None]


def check(command: Command, stop: Stop = lambda: None) -> None:
  """Waits until all processes are there; leaves the coordinator's port free for JAX.

  Args:
    command: what the flags of this process say.
    stop: called several times a second; may raise to give up.

  Raises:
    InputError: in every process that is there, if one is missing or has other flags.
  """
  if command.index == 0:
    asyncio.run(_receive(command, stop))
  else:
    _introduce(command, stop)


async def _receive(command: Command, stop: Stop) -> None:
  listening = listen(command)
  desk = _Desk(command)
  server = await asyncio.start_server(desk.meet, sock=listening, limit=MOST_BYTES)
  until = time.monotonic() + command.limits.start
  try:
    while not desk.refusal and not desk.is_complete() and time.monotonic() < until:
      stop()
      await asyncio.sleep(RETRY_SECS)
    if desk.refusal:
      await asyncio.sleep(LINGER_SECS)
    refusal = desk.refusal or desk.missing()
  finally:
    server.close()
  await desk.dismiss(refusal)
  if refusal:
    raise InputError(refusal)


def listen(command: Command) -> socket.socket:
  """A socket at the coordinator's address.

  Raises:
    InputError: the address is not available.
  """
  try:
    family, *_, address = socket.getaddrinfo(command.host, command.port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address, family=family)
  except OSError as error:
    raise InputError(
      f'process 0 cannot listen at --coordinator={command.address} '
      f'({error.strerror or first_line(error)}): it needs an address of its own machine and a free '
      f'port; give all processes another one'
    ) from error


def missing(command: Command, away: Sequence[int]) -> str:
  """The error message about processes that did not come; empty if all did."""
  if not away:
    return ''
  several = 'es' if away[1:] else ''
  return (
    f'process{several} {", ".join(map(str, away))} of {command.count} did not come to '
    f'{command.address} within {command.limits.start} s (--start_secs): give the same '
    f'command there, with --process_id={away[0]}'
  )


def misfit(command: Command, hello: Mapping[str, Any]) -> str:
  """The error message about a process that was started differently; empty if it was not."""
  number, count = hello['index'], hello['count']
  if count != command.count:
    return (
      f'process {number} was started with --num_processes={count}, process 0 with '
      f'{command.count}: start all of them alike'
    )
  if hello.get('elastic', False) != command.elastic:
    one, other = (0, number) if command.elastic else (number, 0)
    return (
      f'process {one} was started with --elastic, process {other} without: start all of them alike'
    )
  return ''


def twice(number: int) -> str:
  """The error message about a number that two processes have."""
  return f'two processes were started with --process_id={number}: each needs its own'


def unmet(command: Command, why: str) -> str:
  """The error message about a process 0 that cannot be reached."""
  return (
    f'process {command.index} of {command.count} found no process 0 at '
    f'--coordinator={command.address} within {command.limits.start} s (--start_secs; {why}): start '
    f'it there, and let this machine reach its port'
  )


class _Desk:
  """Where process 0 receives the others."""

  def __init__(self, command: Command) -> None:
    self.command = command
    self.refusal = ''
    self._present: dict[int, asyncio.StreamWriter] = {}
    self._refused: list[asyncio.StreamWriter] = []
    self._leaving = asyncio.Event()

  def is_complete(self) -> bool:
    return len(self._present) == self.command.count - 1

  def missing(self) -> str:
    """The error message about those that did not come; empty if all did."""
    return missing(
      self.command, [i for i in range(1, self.command.count) if i not in self._present]
    )

  async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keeps a connection until it ends; closes a stranger's."""
    number = None
    try:
      hello = decode(await asyncio.wait_for(reader.readline(), HELLO_SECS))
      if hello is not None:
        number = self._admit(hello, writer)
        await reader.read()  # returns when the other end closes
    except (OSError, ValueError, TimeoutError):  # ValueError: the line is too long
      pass
    finally:
      if number is not None and not self._leaving.is_set():
        del self._present[number]  # it may come again
      writer.close()

  def _admit(self, hello: dict[str, Any], writer: asyncio.StreamWriter) -> int | None:
    number, count = hello.get('index'), hello.get('count')
    if not isinstance(number, int) or not isinstance(count, int):
      return None
    if refusal := misfit(self.command, hello):
      self.refusal = refusal
    elif number in self._present:
      self.refusal = twice(number)
    elif 0 < number < count:
      self._present[number] = writer
      return number
    self._refused.append(writer)
    return None

  async def dismiss(self, refusal: str) -> None:
    """Tells all processes; waits for them to disconnect, which leaves the port free at once."""
    self._leaving.set()
    writers = [*self._present.values(), *self._refused]
    for writer in writers:
      writer.write(encode(refusal=refusal))
    until = time.monotonic() + 1.0
    while not all(writer.is_closing() for writer in writers) and time.monotonic() < until:
      await asyncio.sleep(0.02)


def _introduce(command: Command, stop: Stop) -> None:
  """What processes other than 0 do: identify themselves until process 0 answers."""
  begun, why = time.monotonic(), ''
  until = begun + command.limits.start
  while time.monotonic() < until:
    stop()
    try:
      with socket.create_connection((command.host, command.port), timeout=RETRY_SECS * 5) as line:
        answer, why = (
          _talk(line, command, until + VERDICT_SECS, stop),
          'something else answers there',
        )
    except OSError as error:
      answer, why = None, error.strerror or first_line(error)
    if answer is None:
      time.sleep(RETRY_SECS)
    elif answer.get('refusal'):
      raise InputError(answer['refusal'])
    else:
      return
  raise InputError(unmet(command, why))


def _talk(line: socket.socket, command: Command, until: float, stop: Stop) -> dict[str, Any] | None:
  """The answer of process 0; None if a stranger answers, or the connection closes."""
  line.sendall(encode(index=command.index, count=command.count, elastic=command.elastic))
  line.settimeout(RETRY_SECS)
  heard = b''
  while b'\n' not in heard and len(heard) < MOST_BYTES and time.monotonic() < until:
    stop()
    try:
      more = line.recv(MOST_BYTES)
    except TimeoutError:
      continue
    if not more:
      return None
    heard += more
  return decode(heard)


def encode(**said: Any) -> bytes:
  """A message as a line of JSON."""
  return json.dumps({'magic': MAGIC, **said}).encode() + b'\n'


def decode(line: bytes) -> dict[str, Any] | None:
  """The message in a line; None if it is a stranger's."""
  try:
    said = json.loads(line)
  except (ValueError, RecursionError):
    return None
  return said if isinstance(said, dict) and said.get('magic') == MAGIC else None

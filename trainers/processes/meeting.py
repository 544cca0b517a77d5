"""Where the parents of an elastic run meet: the side of process 0, in a thread of its own.

Every parent, including that of process 0, keeps a connection to it for the whole run. If it closes
or falls silent, the process is gone.
"""

import asyncio
import contextlib
import threading
import time
from typing import Any

from l2o.errors import InputError
from trainers.processes import preflight
from trainers.processes.flags import Command
from trainers.processes.leader import Ended, Leader, Verdict

POLL_SECS = 0.1
NONSENSE = ValueError, KeyError, TypeError  # raised by a stranger's or an overlong message
BEAT_SECS = 1.0
FAREWELL_SECS = 3.0


class Meeting:
  """Listens until the run has ended.

  Args:
    command: what the flags of process 0 say.
    digest: of what must be equal in all processes.

  Raises:
    InputError: the address is not available.
  """

  def __init__(self, command: Command, digest: str) -> None:
    self._command, self._digest = command, digest
    self._socket = preflight.listen(command)
    self._leader = Leader(command, time.monotonic())
    self._writers: dict[int, asyncio.StreamWriter] = {}
    self._thread = threading.Thread(target=lambda: asyncio.run(self._hold()), daemon=True)
    self._thread.start()

  def close(self) -> None:
    """Waits until every process has been told how the run ends."""
    self._thread.join(2 * FAREWELL_SECS)

  async def _hold(self) -> None:
    server = await asyncio.start_server(
      self._meet, sock=self._socket, limit=preflight.MOST_BYTES
    )  # fmt: skip
    beaten = 0.0
    while (verdict := self._leader.verdict) is None:
      now = time.monotonic()
      self._give(self._leader.orders(now))
      if now - beaten > BEAT_SECS:
        beaten = now
        for writer in self._writers.values():
          writer.write(preflight.encode(beat=True))
      await asyncio.sleep(POLL_SECS)
    for writer in self._writers.values():
      writer.write(preflight.encode(order='end', **verdict._asdict()))
    until = time.monotonic() + FAREWELL_SECS
    while self._writers and time.monotonic() < until:
      await asyncio.sleep(POLL_SECS)
    server.close()

  def _give(self, orders: list[tuple[int, dict[str, Any]]]) -> None:
    place = {}
    if any(order['order'] == 'round' for _, order in orders):
      place = {'host': self._command.host, 'port': _free_port(self._command)}
      print(self._leader.line(), flush=True)
    for index, order in orders:
      self._writers[index].write(preflight.encode(**order, **place))

  async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keeps a connection until it ends; closes a stranger's."""
    with contextlib.suppress(OSError, TimeoutError, *NONSENSE):
      line = await asyncio.wait_for(reader.readline(), preflight.HELLO_SECS)
      hello = preflight.decode(line)
      if hello is not None and _is_hello(hello):
        refusal = self._refusal(hello)
        if not refusal and hello['index'] not in self._writers:
          writer.write(preflight.encode(accepted=True))
          await self._keep(hello, reader, writer)
        else:  # the end of a process with this number may not have been noticed yet
          twice = preflight.twice(hello['index'])
          writer.write(preflight.encode(refusal=refusal or twice, later=not refusal))
    writer.close()

  def _refusal(self, hello: dict[str, Any]) -> str:
    index, leader = hello['index'], self._leader
    if refusal := preflight.misfit(self._command, hello):
      if not leader.number:  # nothing has been computed, so all are refused
        leader.verdict = Verdict(InputError.exit_code, refusal)
      return refusal
    if leader.number and not hello.get('number') and hello.get('digest') != self._digest:
      return (
        f'process {index} has another config, workdir or software than the run that process 0 has '
        f'begun: start all of them alike'
      )
    return ''

  async def _keep(
    self, hello: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
  ) -> None:
    index, leader = hello['index'], self._leader
    self._writers[index] = writer
    leader.join(index, hello.get('number', 0), time.monotonic())
    try:
      while line := await asyncio.wait_for(reader.readline(), self._command.limits.lost):
        said = preflight.decode(line) or {}
        if 'ended' in said:
          leader.end(index, said['number'], Ended(*said['ended']))
        elif 'parts' in said:
          leader.part(index, said['parts'])
    finally:
      del self._writers[index]
      leader.leave(index)


def _is_hello(said: dict[str, Any]) -> bool:
  numbers = [said.get('index'), said.get('count'), said.get('number', 0)]
  return all(isinstance(n, int) and n >= 0 for n in numbers) and said['index'] < said['count']


def _free_port(command: Command) -> int:
  """A port for JAX's coordinator of a round."""
  with preflight.listen(command._replace(port=0)) as probe:
    return probe.getsockname()[1]

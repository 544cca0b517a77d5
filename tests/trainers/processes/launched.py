"""Starts `small_run` as several processes, and ends what is left of them."""

import contextlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from tests import peers

LIMIT_SECS = 60.0


class End(NamedTuple):
  """How one process ended."""

  code: int
  output: str
  errors: str

  @property
  def sentences(self):
    return re.findall(r'^error: (.*)$', self.errors, re.MULTILINE)


class Launched:
  """The processes of one run."""

  def __init__(self, do, count=2, module='small_run', **flags):
    self.folder = pathlib.Path(tempfile.mkdtemp())
    self.port = peers.free_port()
    given = {'start_secs': 20, 'lost_secs': 10, **flags}
    if 'detect_processes' not in flags:
      named = {'coordinator': f'127.0.0.1:{self.port}', 'num_processes': count}
      given = {**named, 'process_id': list(range(count)), **given}
    self._command = [sys.executable, '-m', f'tests.trainers.processes.{module}', f'--do={do}']
    self._command += [f'--mark={self.folder}', '--verbosity=-1']
    self._given = given
    self.parents = [self._start(i) for i in range(count)]

  def _start(self, i, **others):
    given = (self._given | others).items()
    return subprocess.Popen(
      [*self._command, *(f'--{k}={v[i] if isinstance(v, list) else v}' for k, v in given)],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    )

  def again(self, i, **others):
    """Starts a process that has ended again."""
    self.parents[i].communicate()
    self.parents[i] = self._start(i, **others)

  def round(self, number, ranks):
    """The process ids of an elastic round's workers, once all of them wait."""
    until = time.monotonic() + LIMIT_SECS
    while time.monotonic() < until:
      with contextlib.suppress(FileNotFoundError, ValueError):
        return [int((self.folder / f'{number}.{i}').read_text()) for i in range(ranks)]
      time.sleep(0.02)
    raise TimeoutError(f'round {number} did not start: {sorted(self.folder.iterdir())}')

  def workers(self):
    """The process ids of the workers, once all of them are in the run."""
    until = time.monotonic() + LIMIT_SECS
    while time.monotonic() < until:
      with contextlib.suppress(FileNotFoundError, ValueError):
        return [int((self.folder / str(i)).read_text()) for i in range(len(self.parents))]
      assert all(parent.poll() is None for parent in self.parents), self.ends()
      time.sleep(0.05)
    raise TimeoutError('the workers did not start')

  def have_workers(self):
    """Waits until each parent has started its worker, so that it passes signals on."""
    for parent in self.parents:
      children = pathlib.Path(f'/proc/{parent.pid}/task/{parent.pid}/children')
      until = time.monotonic() + LIMIT_SECS
      while not children.read_text():
        assert time.monotonic() < until, 'a parent does not start its worker'
        time.sleep(0.05)

  def hear_at_port(self):
    """Waits until process 0 waits for the others."""
    for _ in range(round(LIMIT_SECS * 10)):
      with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(('127.0.0.1', self.port)).close()
        return
      time.sleep(0.1)
    raise TimeoutError('process 0 does not listen')

  def ends(self):
    """How each process ended."""
    until = time.monotonic() + LIMIT_SECS
    outputs = [p.communicate(timeout=max(until - time.monotonic(), 1)) for p in self.parents]
    return [End(p.returncode, *out) for p, out in zip(self.parents, outputs, strict=True)]

  def kill(self):
    for parent in self.parents:
      if parent.poll() is None:
        parent.kill()  # its worker dies with it
      parent.communicate()


@contextlib.contextmanager
def launched(do, count=2, **flags):
  run = Launched(do, count, **flags)
  try:
    yield run
  finally:
    run.kill()


def is_alive(number):
  try:
    os.kill(number, 0)
  except ProcessLookupError:
    return False
  state = pathlib.Path(f'/proc/{number}/stat').read_text().rpartition(')')[2].split()[0]
  return state != 'Z'


def dies_within(number, secs):
  until = time.monotonic() + secs
  while is_alive(number) and time.monotonic() < until:
    time.sleep(0.05)
  return not is_alive(number)

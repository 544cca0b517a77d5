"""Runs of main.py in processes of their own."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

from tests import peers

SECS = 300  # nothing here takes longer


class Run:
  """A run's command, which may be started several times.

  Args:
    config: as main.py takes it.
    workdir: the run's folder; what is printed lies beside it.
    count: number of processes.
    name: of the files beside the folder.
  """

  def __init__(self, config, workdir, count, name='run'):
    self.config, self.workdir, self.count = config, workdir, count
    self.printed = [workdir.parent / f'{name}_{i}.txt' for i in range(count)]
    self.complained = [workdir.parent / f'{name}_{i}_errors.txt' for i in range(count)]
    self.processes = []

  def start(self):
    port = peers.free_port()
    self.processes = [self._start(i, port) for i in range(self.count)]
    self._until = time.monotonic() + SECS

  def _start(self, index, port):
    flags = [f'--config={self.config}', f'--workdir={self.workdir}']
    if self.count > 1:
      flags += [*peers.told(port, self.count, index), '--lost_secs=10']
    with (
      _sigint_heard(),
      self.printed[index].open('a') as output,
      self.complained[index].open('w') as errors,
    ):
      return subprocess.Popen(
        [sys.executable, 'main.py', *flags],
        stdout=output,
        stderr=errors,
        env=peers.environment(),
      )

  @contextlib.contextmanager
  def started(self):
    """Starts it; nothing of it lives afterwards."""
    self.start()
    try:
      yield
    finally:
      for process in self.processes:
        if process.poll() is None:
          process.kill()  # a worker dies with its parent
        process.wait(SECS)

  def wait(self, secs):
    """Waits, at most until the first process has ended."""
    until = time.monotonic() + secs
    while time.monotonic() < until and all(p.poll() is None for p in self.processes):
      time.sleep(0.01)

  def signal(self, number, which=None):
    """Signals some of the processes that do the work, by default all.

    With several, main.py is the parent of the one that works; it is waited for.
    """
    for i in range(self.count) if which is None else which:
      with contextlib.suppress(ProcessLookupError):
        os.kill(self._working(self.processes[i]), number)

  def _working(self, parent):
    if self.count == 1:
      return parent.pid
    while parent.poll() is None:
      if children := _children(parent.pid):
        return children[0]
      time.sleep(0.01)
    raise ProcessLookupError

  def ends(self):
    """The exit codes."""
    return [p.wait(max(self._until - time.monotonic(), 1)) for p in self.processes]

  def finish(self):
    with self.started():
      codes = self.ends()
    assert codes == [0] * self.count, self.errors()[-5000:]

  def errors(self):
    return ''.join(path.read_text() for path in self.complained)

  def reached(self):
    """Where the run is: the last of its stages that has a folder."""
    if (self.workdir / 'results.json').exists():
      return 'the end'
    for stage in ('meta_evaluate', 'meta_train', 'pretrain', 'train'):
      if (self.workdir / stage).exists():
        return stage
    return 'building'


@contextlib.contextmanager
def _sigint_heard():
  """By processes that are started meanwhile: a shell's command in the background ignores it."""
  before = signal.signal(signal.SIGINT, signal.SIG_DFL)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, before)


def _children(pid):
  try:
    listed = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text()
  except FileNotFoundError:
    return []
  return [int(child) for child in listed.split()]

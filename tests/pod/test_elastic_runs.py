"""The demonstration of an elastic run: `pytest -m slow -s tests/pod/test_elastic_runs.py`."""

import contextlib
import os
import pathlib
import random
import re
import signal
import time

import pytest

from tests import peers
from tests.pod import group

CONFIG = 'pipeline_config.py:long'
PROCESSES, KILLS = 3, 10
# Every process can lose its worker; process 0's own parent is what the others come back to.
VICTIMS = [(0, 'worker'), (1, 'worker'), (2, 'worker'), (1, 'both'), (2, 'both')]
EARLY_SECS, LATE_SECS, AWAY_SECS = (2.0, 12.0), (0.0, 6.0), (2.0, 10.0)
TIMEOUT_SECS = 1500


class Elastic:
  """The processes of an elastic run, with their output in files."""

  def __init__(self, workdir):
    self._workdir, self._port = workdir, peers.free_port()
    self._logs = [open(f'{workdir}.{i}.log', 'a+') for i in range(PROCESSES)]  # noqa: SIM115
    self.processes = [self._started(i) for i in range(PROCESSES)]

  def _started(self, i):
    flags = ['--elastic', '--lost_secs=10']
    return group.start(CONFIG, self._workdir, PROCESSES, self._port, i, flags, self._logs[i])

  def again(self, i):
    self.processes[i] = self._started(i)

  def worker(self, i):
    """The process id of a worker, waiting for the next one between two rounds."""
    parent = self.processes[i].pid
    path = pathlib.Path(f'/proc/{parent}/task/{parent}/children')
    while True:
      assert self.processes[i].poll() is None, self.log(i)
      with contextlib.suppress(ValueError):
        (worker,) = map(int, path.read_text().split())
        return worker
      time.sleep(0.05)

  def comes_forward(self):
    """Waits for a new generation."""
    path = pathlib.Path(self._workdir) / 'meta_train' / 'metrics.jsonl'
    until, before = time.monotonic() + TIMEOUT_SECS, path.exists() and path.read_text()
    while not path.exists() or path.read_text() == before:
      assert all(process.poll() is None for process in self.processes), self.log(0)
      assert time.monotonic() < until, self.log(0)
      time.sleep(0.1)

  def log(self, i):
    self._logs[i].seek(0)
    return self._logs[i].read()

  def kill(self):
    for process, log in zip(self.processes, self._logs, strict=True):
      group.kill(process)
      log.close()


@contextlib.contextmanager
def elastic(workdir):
  run = Elastic(workdir)
  try:
    yield run
  finally:
    run.kill()


def kill_one(run, chance):
  if chance.random() < 1 / 3:  # while a round starts
    time.sleep(chance.uniform(*EARLY_SECS))
  else:  # after it has come forward
    run.comes_forward()
    time.sleep(chance.uniform(*LATE_SECS))
  victim, what = chance.choice(VICTIMS)
  worker = run.worker(victim)
  if what == 'both':
    group.kill(run.processes[victim])
  with contextlib.suppress(ProcessLookupError):
    os.kill(worker, signal.SIGKILL)
  if what == 'both':
    time.sleep(chance.uniform(*AWAY_SECS))
    run.again(victim)


@pytest.mark.slow
def test_ten_random_kills_leave_the_bits_of_an_unbroken_run(tmp_path):
  seldom = ['--config.checkpoint_every_secs=600']
  group.run(CONFIG, tmp_path / 'whole', flags=seldom)
  begun, chance = time.monotonic(), random.Random(13)
  with elastic(tmp_path / 'run') as run:
    for _ in range(KILLS):
      kill_one(run, chance)
    codes = [process.wait(TIMEOUT_SECS) for process in run.processes]
    rounds = re.findall(r'^\[run\] round .*$', run.log(0), re.MULTILINE)
    assert codes == [0] * PROCESSES, [run.log(i) for i in range(PROCESSES)]
  print(*rounds, f'{time.monotonic() - begun:.0f} s', sep='\n')
  assert len(rounds) > KILLS
  assert any(f'of {PROCESSES} (' in line and ' 0, 1 and 2 ' not in line for line in rounds)
  assert group.left(CONFIG, tmp_path / 'run') == group.left(CONFIG, tmp_path / 'whole')

"""Ctrl-C, and SIGTERM outside of a loop, end a run at once, in one sentence."""

import signal

import pytest

from checkpoints import Checkpoints
from tests.faults.test_damage import CONFIGS
from tests.tiny_run import execute
from trainers.harness import loop
from trainers.processes import leaving, start


def interrupt(name, *arguments):
  return lambda done, state: signal.raise_signal(signal.SIGINT) if done == 2 else None


@pytest.fixture
def heard():
  """Python's own handler: a shell's command in the background starts with SIGINT ignored."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures('heard')
def test_a_save_that_is_half_begun_does_not_hide_it(tmp_path, monkeypatch):
  def half_begun(self):
    raise RuntimeError('cannot join thread before it is started')

  monkeypatch.setattr(loop, 'progress', interrupt)
  monkeypatch.setattr(Checkpoints, 'close', half_begun)
  with pytest.raises(KeyboardInterrupt):
    execute(CONFIGS['job'], tmp_path / 'run')


@pytest.mark.parametrize(
  ('number', 'code', 'said'),
  [(signal.SIGINT, 130, 'interrupted'), (signal.SIGTERM, 143, 'ended by SIGTERM')],
)
def test_it_is_said_in_one_sentence(number, code, said, monkeypatch, capfd):
  """Outside of a stage's loop, which saves at a SIGTERM."""
  codes = []
  before = signal.getsignal(number)
  monkeypatch.setattr(leaving, 'now', codes.append)
  start.launch(None, lambda: signal.raise_signal(number), {})
  assert codes == [code]
  assert (
    capfd.readouterr().err == f'error: {said}; the same command resumes from the last checkpoint\n'
  )
  assert signal.getsignal(number) is before

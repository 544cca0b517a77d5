"""What a parent makes of its worker's end."""

import signal

import pytest

from tests.tiny_run import execute, tiny_job
from trainers.processes import parent
from trainers.processes.flags import Command, Limits

RUNNING = b'running 1 2\n'


def meaning(capfd, heard, by, index=1, silent=False):
  said = parent._Said(Command('a', 1, 2, index, Limits()))
  for byte in heard:  # lines come in pieces
    said.hear(bytes([byte]))
  said.is_silent = silent
  code = said.exit_code(-by)
  return code, capfd.readouterr().err


@pytest.mark.parametrize(
  ('heard', 'by', 'code', 'says'),
  [
    (RUNNING, signal.SIGABRT, 5, 'process 0 of 2 is lost, and the coordination service with it; '),
    (RUNNING, signal.SIGSEGV, 139, 'process 1 of 2 was ended by SIGSEGV; the same command resumes'),
    (RUNNING, signal.SIGKILL, 137, 'process 1 of 2 was killed, perhaps for want of memory; '),
    (b'', signal.SIGABRT, 2, 'JAX could not start process 1 of 2 (SIGABRT)'),
    (b'alive\n', signal.SIGSEGV, 2, 'JAX could not start process 1 of 2 (SIGSEGV)'),
    (b'', signal.SIGTERM, 143, 'was ended by SIGTERM while starting; nothing was computed'),
    (b'', signal.SIGKILL, 137, 'process 1 of 2 was killed'),
  ],
)
def test_a_signal_is_explained(capfd, heard, by, code, says):
  found, errors = meaning(capfd, heard, by)
  assert found == code
  assert errors.startswith('error: ')
  assert says in errors
  assert errors.count('\n') == 1


def test_process_0_has_no_process_0_to_lose(capfd):
  code, errors = meaning(capfd, b'running 0 2\nalive\n', signal.SIGABRT, index=0)
  assert code == 134
  assert 'process 0 of 2 was ended by SIGABRT' in errors


def test_a_worker_that_had_said_why_is_not_spoken_over(capfd):
  assert meaning(capfd, RUNNING + b'leaving 143\n', signal.SIGABRT) == (143, '')


def test_a_worker_that_fell_silent(capfd):
  code, errors = meaning(capfd, RUNNING, signal.SIGKILL, silent=True)
  assert code == 5
  assert 'process 1 of 2 gave no sign of life for 30 s and was ended' in errors


def test_what_was_saved_last():
  said = parent._Said(Command('a', 1, 2, 1, Limits()))
  said.hear(b'saved train 3\nrunning\nsaved train 4\nsaved tr')
  assert (said.saved, said.is_running) == ('train 4', True)


def test_a_usual_code_is_handed_on(capfd):
  assert meaning(capfd, RUNNING, -3) == (3, '')


def test_what_a_run_saves_is_told(tmp_path, monkeypatch):
  told = []
  monkeypatch.setattr(parent, 'tell', told.append)
  execute(tiny_job(checkpoint_every_secs=0.0), tmp_path / 'run')
  assert told == [f'saved train {step}' for step in (1, 2, 3, 4, 5, 6, 6)]

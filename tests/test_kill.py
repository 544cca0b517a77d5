"""Real kills of main.py at several points: the same command ends as an unbroken run would have.

Minutes: `pytest -m slow tests/test_kill.py`.
"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import safetensors

COMMAND = [
  sys.executable, 'main.py', '--config=configs/quickstart.py:smoke',
  '--config.checkpoint_every_secs=0', '--config.meta_evaluate.num_tasks=2',
]  # fmt: skip
# (stage, rows of its metrics.jsonl when the signal is sent): early and late in every stage, and
# before the first, while the data are prepared.
POINTS = [(None, 0), ('pretrain', 1), ('pretrain', 3), ('meta_train', 1), ('meta_train', 2)]
POINTS += [('meta_evaluate', 2), ('meta_evaluate', 20)]


def start(workdir):
  return subprocess.Popen(
    [*COMMAND, f'--workdir={workdir}'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  )


def finish(workdir):
  output, _ = (process := start(workdir)).communicate(timeout=600)
  assert process.returncode == 0, output


def left(workdir):
  """Everything of a run that must be as if nothing had happened."""
  found = {'results': json.loads((workdir / 'results.json').read_text())}
  for stage in ('pretrain', 'meta_train', 'meta_evaluate'):
    found[stage] = (workdir / stage / 'metrics.jsonl').read_text()
  with safetensors.safe_open(workdir / 'optimizer.safetensors', framework='numpy') as theta:
    found |= {name: theta.get_tensor(name).tolist() for name in theta.keys()}  # noqa: SIM118
  return found


def wait_for(process, workdir, stage, rows):
  if stage is None:
    process.stdout.readline()  # it has begun
    return
  path = workdir / stage / 'metrics.jsonl'
  while not path.exists() or path.read_text().count('\n') < rows:
    assert process.poll() is None
    time.sleep(0.005)


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('runs') / 'unbroken'
  finish(workdir)
  return left(workdir)


@pytest.mark.slow
@pytest.mark.parametrize(('stage', 'rows'), POINTS)
def test_a_killed_run_loses_nothing(unbroken, tmp_path, stage, rows):
  workdir = tmp_path / 'run'
  process = start(workdir)
  wait_for(process, workdir, stage, rows)
  os.kill(process.pid, signal.SIGKILL)
  process.communicate()
  assert not (workdir / 'results.json').exists()
  finish(workdir)
  assert left(workdir) == unbroken


@pytest.mark.slow
@pytest.mark.parametrize(('stage', 'rows'), [('meta_train', 1), ('meta_evaluate', 2)])
def test_sigterm_saves_before_it_ends(unbroken, tmp_path, stage, rows):
  workdir = tmp_path / 'run'
  process = start(workdir)
  wait_for(process, workdir, stage, rows)
  process.terminate()
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 143
  assert f'error: {stage}: ended by SIGTERM after' in output
  assert 'Traceback' not in output
  finish(workdir)
  assert left(workdir) == unbroken


@pytest.mark.slow
def test_a_second_run_in_the_same_workdir_is_refused_while_the_first_lives(tmp_path):
  workdir = tmp_path / 'run'
  first = start(workdir)
  wait_for(first, workdir, 'pretrain', 1)
  second = start(workdir)
  output, _ = second.communicate(timeout=300)
  first.kill()
  first.communicate()
  assert second.returncode == 2
  assert 'in use by another run' in output

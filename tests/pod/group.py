"""main.py as one run of several processes over loopback, and what a run leaves."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import safetensors.numpy

from tests import peers

TIMEOUT_SECS = 300
METRICS = {
  'pipeline_config.py': ('pretrain', 'meta_train', 'meta_evaluate'),
  'job_config.py': ('train',),
}


@contextlib.contextmanager
def started(config, workdir, processes=1, flags=(), environments=None):
  """The processes of a run, by number; whatever is left of them at the end is killed."""
  port, own = peers.free_port(), environments or [None] * processes
  group = [
    start(config, workdir, processes, port, i, flags, environment=own[i]) for i in range(processes)
  ]
  try:
    yield group
  finally:
    for process in group:
      kill(process)


def start(
  config, workdir, processes, port, number, flags=(), output=subprocess.PIPE, environment=None
):
  """One process of a run."""
  command = [sys.executable, 'main.py', f'--config=tests/pod/{config}', f'--workdir={workdir}']
  return subprocess.Popen(
    [*command, *peers.told(port, processes, number), *flags],
    stdout=output,
    stderr=output,
    text=True,
    env=peers.environment() | (environment or {}),
    start_new_session=True,  # so that a parent and its worker can be killed together
  )


def kill(process):
  """Kills a process, and its worker with it."""
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)
  process.communicate()


def ended(group):
  """Waits; returns the codes, and what was written to stdout and stderr, by process."""
  outputs = [process.communicate(timeout=TIMEOUT_SECS) for process in group]
  return [process.returncode for process in group], outputs


def run(config, workdir, processes=1, flags=()):
  """A run to its end."""
  with started(config, workdir, processes, flags) as group:
    codes, outputs = ended(group)
  assert codes == [0] * processes, outputs
  return outputs


def wait_for(group, workdir, stage, rows):
  """Until a stage has written so many rows of metrics."""
  path = pathlib.Path(workdir) / stage / 'metrics.jsonl'
  until = time.monotonic() + TIMEOUT_SECS
  while not path.exists() or path.read_text().count('\n') < rows:
    assert all(process.poll() is None for process in group)
    assert time.monotonic() < until
    time.sleep(0.01)


def left(config, workdir):
  """Everything of a run that must be as if nothing had happened: name -> content."""
  workdir = pathlib.Path(workdir)
  found = {stage: (workdir / stage / 'metrics.jsonl').read_text() for stage in stages(config)}
  found['results'] = (workdir / 'results.json').read_text()
  for path in workdir.glob('*.safetensors'):
    arrays = safetensors.numpy.load_file(path)
    found |= {name: (x.dtype, x.shape, np.asarray(x).tobytes()) for name, x in arrays.items()}
  return found


def stages(config):
  return METRICS[config.partition(':')[0]]

"""main.py as one run of several processes over loopback, and what a run leaves."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import safetensors.numpy

PROGRAMS = 'L2O_TEST_PROGRAMS'  # see tests/conftest.py

# Bits depend on the size of XLA's thread pool, which is at least the devices of a process.
ENVIRONMENT = {**os.environ, 'NPROC': '4'}
if PROGRAMS in os.environ:  # what a process compiled, the others and later runs read
  ENVIRONMENT |= {
    'JAX_COMPILATION_CACHE_DIR': os.environ[PROGRAMS],
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }
TIMEOUT_SECS = 300
METRICS = {
  'pipeline_config.py': ('pretrain', 'meta_train', 'meta_evaluate'),
  'job_config.py': ('train',),
}


def free_port():
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    return s.getsockname()[1]


@contextlib.contextmanager
def started(config, workdir, processes=1, flags=(), environments=None):
  """The processes of a run, by number; whatever is left of them at the end is killed."""
  port, own = free_port(), environments or [None] * processes
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
  if processes > 1:
    command += [f'--coordinator=127.0.0.1:{port}', f'--num_processes={processes}']
    command += [f'--process_id={number}']
  return subprocess.Popen(
    [*command, *flags],
    stdout=output,
    stderr=output,
    text=True,
    env=ENVIRONMENT | (environment or {}),
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

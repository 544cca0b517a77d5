"""How main.py is started as one of several processes over loopback."""

import os
import socket

PROGRAMS = 'L2O_TEST_PROGRAMS'  # see tests/conftest.py


def free_port():
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


def told(port, count, index):
  """The flags of one of `count` processes; none if it is alone."""
  if count == 1:
    return []
  return [f'--coordinator=127.0.0.1:{port}', f'--num_processes={count}', f'--process_id={index}']


def environment():
  """One pool of threads in all of them, on which bits depend; what one compiled, others read."""
  given = {'NPROC': '4', 'JAX_PLATFORMS': 'cpu'}  # as many threads as a process has devices
  if PROGRAMS in os.environ:
    given |= {
      'JAX_COMPILATION_CACHE_DIR': os.environ[PROGRAMS],
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
    }
  return os.environ | given

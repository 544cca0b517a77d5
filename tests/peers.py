"""How main.py is started as one of several processes over loopback."""

import os
import socket


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
  """One pool of threads in all of them, on which bits depend."""
  # as many threads as a process has devices
  return os.environ | {'NPROC': '4', 'JAX_PLATFORMS': 'cpu'}

"""Runs code in a process of its own in which some packages are not installed."""

import os
import subprocess
import sys

# `find_spec` answers as it does for what is not there; a finder that raises would also stop those
# who only ask.
PRELUDE = """
import sys

class Hiding:
  def __init__(self, finder, hidden):
    self._finder, self._hidden = finder, hidden

  def __getattr__(self, name):
    return getattr(self._finder, name)

  def find_spec(self, name, path=None, target=None):
    if name.partition('.')[0] not in self._hidden:
      return self._finder.find_spec(name, path, target)

hidden = set(sys.argv.pop().split(','))
sys.meta_path[:] = [Hiding(finder, hidden) for finder in sys.meta_path]
"""


def run_without(hidden, code, *arguments):
  """The output of `code` with `sys.argv[1:] = arguments`; fails if it does."""
  done = subprocess.run(
    [sys.executable, '-c', PRELUDE + code, *map(str, arguments), ','.join(sorted(hidden))],
    capture_output=True,
    text=True,
    timeout=600,
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
  )
  assert done.returncode == 0, done.stderr
  return done.stdout

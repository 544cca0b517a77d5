"""One finished run of the whole pipeline, for all tests that look at one."""

import fcntl

import pytest

from tests.tiny_run import CONFIG, execute


@pytest.fixture(scope='session')
def finished(tmp_path_factory, worker_id):
  """The folder of a run of `CONFIG`, the same for all workers: copy it before you change it."""
  own = tmp_path_factory.getbasetemp()
  shared = own if worker_id == 'master' else own.parent
  with open(shared / 'finished.lock', 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    return execute(CONFIG, shared / 'finished')  # computes nothing where it is there

"""Strict by default: several CPU devices, and shapes that do not fit are errors.

Programs are compiled once for all workers and tests of a session: in a temporary folder lies XLA's
output. A worker forgets its own programs after each module, so that its memory stays small.
"""

import os
import shutil
import tempfile

import jax
import numpy as np
import pytest
from absl import flags

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
flags.FLAGS.mark_as_parsed()  # grain and absl.logging look at them
jax.config.update('jax_num_cpu_devices', 8)
assert jax.device_count() == 8  # takes effect with the first look, before a run asks for less
jax.config.update('jax_numpy_rank_promotion', 'raise')

PROGRAMS = 'L2O_TEST_PROGRAMS'  # the folder of compiled programs, handed on to the workers


def pytest_configure(config):
  if not hasattr(config, 'workerinput'):
    os.environ[PROGRAMS] = tempfile.mkdtemp(prefix='l2o_programs_')
  jax.config.update('jax_compilation_cache_dir', os.environ[PROGRAMS])
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def pytest_unconfigure(config):
  if not hasattr(config, 'workerinput'):
    shutil.rmtree(os.environ[PROGRAMS], ignore_errors=True)


@pytest.fixture(autouse=True, scope='module')
def forget_programs():
  yield
  jax.clear_caches()


@pytest.fixture
def rng():
  return np.random.default_rng(7)

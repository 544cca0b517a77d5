"""Strict by default: several CPU devices, and shapes that do not fit are errors.

Most programs of the tests run once, so XLA spends little on optimizing them, and compiles them once
for all workers and tests of a session: in a temporary folder lies its output. A worker now and then
forgets the programs it holds, so that its memory stays small. To test fully optimized
programs, in a third more time: `XLA_FLAGS=--xla_backend_optimization_level=3 pytest`.
"""

import ctypes
import gc
import os
import shutil
import sys
import tempfile

import jax
import numpy as np
import pytest
from absl import flags

LEVEL = '--xla_backend_optimization_level'
if LEVEL not in os.environ.get('XLA_FLAGS', ''):  # read with the first look at the devices
  quick = f'{LEVEL}=0'
  if jax.__version_info__ < (0, 11):  # XLA ends a process that gives it a flag it does not know
    quick += ' --xla_cpu_use_fusion_emitters=false'  # the emitters before them compile faster
  os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {quick}'
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
flags.FLAGS.mark_as_parsed()  # grain and absl.logging look at them
jax.config.update('jax_num_cpu_devices', 8)
assert jax.device_count() == 8  # takes effect with the first look, before a run asks for less
jax.config.update('jax_numpy_rank_promotion', 'raise')

MOST_PROGRAMS = 250  # that a worker holds after a test
held = []  # the names of those compiled since it last forgot them
PROGRAMS = 'L2O_TEST_PROGRAMS'  # the folder of compiled programs, handed on to the workers


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
  """One more than cores: tests that start processes wait for them most of the time."""
  return (os.cpu_count() or 1) + 1


def pytest_configure(config):
  if not hasattr(config, 'workerinput'):
    os.environ[PROGRAMS] = tempfile.mkdtemp(prefix='l2o_programs_')
  config.pluginmanager.register(Forgetful())
  jax.config.update('jax_compilation_cache_dir', os.environ[PROGRAMS])
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def pytest_unconfigure(config):
  if not hasattr(config, 'workerinput'):
    shutil.rmtree(os.environ[PROGRAMS], ignore_errors=True)


def forget():
  """Gives back the memory of compiled programs."""
  held.clear()
  jax.clear_caches()
  gc.collect()
  if sys.platform == 'linux':
    ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory otherwise


class Forgetful:
  """A program holds a megabyte or more; from the folder it comes back in milliseconds.

  A plugin instead of a fixture, since fixtures of this folder do not reach the doctests.
  """

  @pytest.hookimpl(wrapper=True)
  def pytest_runtest_protocol(self, item, nextitem):
    if item.get_closest_marker('large'):
      forget()
    result = yield
    if len(held) > MOST_PROGRAMS:
      forget()
    return result


def _hold(event, duration, fun_name='', **more):
  if event == '/jax/core/compile/backend_compile_duration':
    held.append(fun_name)


jax.monitoring.register_event_duration_secs_listener(_hold)


@pytest.fixture
def rng():
  return np.random.default_rng(7)

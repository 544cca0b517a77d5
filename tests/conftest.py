"""Strict by default: several CPU devices, and shapes that do not fit are errors.

Most programs of the tests run once, so XLA spends little on optimizing them, and compiles them once
for all workers, tests and processes of a session: in a temporary folder lies its output. A worker
forgets what programs were compiled from after each test, and the programs themselves now and then,
so that its memory stays small; and its programs share an MLIR context, which takes longer to make
than many of them to lower. To test fully optimized programs, in a third more time:
`XLA_FLAGS=--xla_backend_optimization_level=3 pytest`.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import resource
import shutil
import sys
import tempfile
import threading

import jax
import numpy as np
import pytest
from absl import flags

LEVEL = '--xla_backend_optimization_level'
if LEVEL not in os.environ.get('XLA_FLAGS', ''):  # read with the first look at the devices
  quick = f'{LEVEL}=0 --xla_cpu_parallel_codegen_split_count=1'  # the cores are busy as it is
  if jax.__version_info__ < (0, 11):  # XLA ends a process that gives it a flag it does not know
    quick += ' --xla_cpu_use_fusion_emitters=false'  # the emitters before them compile faster
  os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {quick}'
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
gc.set_threshold(50_000, 20, 100)  # tracing makes objects by the million: a tenth of the time
if sys.platform == 'linux':  # glibc keeps much of what is freed
  LIBC = ctypes.CDLL(None)
  LIBC.mallopt(M_MMAP_THRESHOLD := -3, 2**22)  # what is larger goes back at once
flags.FLAGS.mark_as_parsed()  # grain and absl.logging look at them
jax.config.update('jax_num_cpu_devices', 8)
assert jax.device_count() == 8  # takes effect with the first look, before a run asks for less
jax.config.update('jax_numpy_rank_promotion', 'raise')

GROWTH = 300 * 2**20  # bytes of programs and the like that a worker may hold after a test
# What a program was compiled from takes five times its memory; JAX has no public way to let it go.
KEPT_SOURCES = {
  'jax._src.pjit': '_pjit_lower',
  'jax._src.interpreters.pxla': '_cached_lowering_to_hlo',
}
CONTEXT_MAKER = 'jax._src.interpreters.mlir', 'make_ir_context'  # nor a public way to share them
PROGRAMS = 'JAX_COMPILATION_CACHE_DIR'  # their folder, handed on to all processes


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
  """One more than cores: tests that start processes wait for them most of the time."""
  return (os.cpu_count() or 1) + 1


WITH_TENSORFLOW = 'clu.metric_writers'  # importing it takes seconds, and 400 MB of a worker
sys.modules.setdefault(WITH_TENSORFLOW, None)  # as if TensorFlow were not installed


@pytest.fixture(scope='module')
def tensorboard():
  """Runs of the module write TensorBoard events."""
  pytest.importorskip('tensorflow')
  with pytest.MonkeyPatch.context() as patch:
    patch.delitem(sys.modules, WITH_TENSORFLOW)
    yield


def pytest_configure(config):
  if not hasattr(config, 'workerinput'):
    # Lowering takes a tenth less time without each operation's callers, which nobody reads here.
    os.environ |= {
      PROGRAMS: tempfile.mkdtemp(prefix='l2o_programs_'),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
      'JAX_TRACEBACK_IN_LOCATIONS_LIMIT': '0',
    }
  config.pluginmanager.register(Forgetful())
  jax.config.update('jax_compilation_cache_dir', os.environ[PROGRAMS])
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  jax.config.update('jax_traceback_in_locations_limit', 0)


def pytest_collection_modifyitems(items):
  # `large` ones come first, while a worker is small: nothing else of its memory is there yet.
  items.sort(key=lambda item: item.get_closest_marker('large') is None)


def pytest_collection_finish():
  gc.collect()
  gc.freeze()  # what was imported stays


def pytest_unconfigure(config):
  if not hasattr(config, 'workerinput'):
    shutil.rmtree(os.environ[PROGRAMS], ignore_errors=True)


def resident():
  """Bytes of memory that this process has; the most it had where /proc does not tell."""
  if sys.platform != 'linux':
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  with open('/proc/self/statm') as f:
    return int(f.read().split()[1]) * resource.getpagesize()


class Forgetful:
  """Keeps a worker's memory small; forgotten programs come back from the folder in milliseconds.

  A plugin instead of a fixture, since fixtures of this folder do not reach the doctests.
  """

  def __init__(self):
    self.least = resident()  # bytes of the process without programs
    self.clear_sources = []
    for module, name in KEPT_SOURCES.items():
      with contextlib.suppress(ImportError, AttributeError):  # not in every version
        self.clear_sources.append(getattr(importlib.import_module(module), name).cache_clear)
    self.contexts = threading.local()
    with contextlib.suppress(ImportError, AttributeError):
      module, name = importlib.import_module(CONTEXT_MAKER[0]), CONTEXT_MAKER[1]
      self.make_context = getattr(module, name)
      setattr(module, name, self.context)

  def context(self):
    """The MLIR context of this thread; it keeps constants, so it goes with the programs."""
    if not hasattr(self.contexts, 'of_thread'):
      self.contexts.of_thread = self.make_context()
    return self.contexts.of_thread

  @pytest.hookimpl(wrapper=True)
  def pytest_runtest_protocol(self, item, nextitem):
    if item.get_closest_marker('large'):
      self.forget()
    result = yield
    for clear in self.clear_sources:
      clear()
    if resident() > self.least + GROWTH:
      self.forget()
    return result

  def forget(self):
    jax.clear_caches()
    self.contexts = threading.local()
    gc.collect()
    if sys.platform == 'linux':
      LIBC.malloc_trim(0)
    self.least = resident()


@pytest.fixture
def rng():
  return np.random.default_rng(7)

"""A main.py whose run is a few lines: `python -m tests.trainers.processes.small_run --do=NAME`."""

import os
import pathlib
import signal
import time

from absl import app, flags

from l2o.errors import InputError, RunError
from trainers.harness import signals, workdir
from trainers.processes import agreement, leaving, parent, start, store
from trainers.processes import flags as processes

processes.define()
flags.DEFINE_string('do', 'sum_of_all', 'Name of a function below.')
flags.DEFINE_integer('value', 0, 'Must be the same in all processes.')
flags.DEFINE_string('mark', '', 'Folder where each process leaves its number and process id.')


def sum_of_all():
  import jax
  import jax.numpy as jnp
  from jax.experimental import multihost_utils

  everybody = multihost_utils.process_allgather(jnp.ones([]) * (store.index() + 1))
  print(f'sum {everybody.sum():.0f} over {jax.device_count()} devices', flush=True)


def wait(secs=60.0):
  end = time.monotonic() + secs
  while time.monotonic() < end:
    time.sleep(0.05)


def wait_for_all():
  if store.index() == 1:
    wait()
  agreement.gathered(1)


def crash():
  if store.index() == 1:
    raise OSError('no space\nleft')
  agreement.gathered(1)


def fail():
  if store.is_first():
    raise RunError('the disk of process 0 is full')
  agreement.gathered(1)


def refuse():
  time.sleep(2 * store.index())
  raise InputError(f'no such thing, says {store.index()}')


def refuse_together():
  def build():
    if store.index() == 1:
      raise InputError('the file is not here')

  agreement.together(build)


def compute():
  while True:
    sum_of_all()


def build_slowly():
  wait(3.0)
  signals.stop_if_asked()
  print('computed', flush=True)


def sigterm_while_connecting():
  signals.stop_if_asked()
  print('computed', flush=True)


def kill_while_connecting():
  """Sends SIGTERM right after JAX has set a handler of its own."""
  import jax

  connect = jax.distributed.initialize

  def initialize(**how):
    connect(**how)
    if how['process_id'] == 1:
      os.kill(os.getpid(), signal.SIGTERM)

  jax.distributed.initialize = initialize


def work(do):
  if flags.FLAGS.mark:
    (pathlib.Path(flags.FLAGS.mark) / str(store.index())).write_text(str(os.getpid()))
  do()


def pretend_other_revision():
  """See main: before the processes are compared."""


def main(argv):
  if flags.FLAGS.do == 'pretend_other_revision':
    workdir.revision = lambda: f'r{flags.FLAGS.process_id}'
  if flags.FLAGS.do == 'sigterm_while_connecting' and parent.is_worker():
    kill_while_connecting()
  do = globals()[flags.FLAGS.do]
  try:
    start.launch(processes.asked(), lambda: work(do), {'value': flags.FLAGS.value})
  except (InputError, RunError) as error:
    leaving.refuse(error)


if __name__ == '__main__':
  app.run(main)

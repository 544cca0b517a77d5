"""A main.py whose elastic workers need no JAX: they wait for a file named `done`.

`python -m tests.trainers.processes.elastic_run --do=NAME --mark=FOLDER …`; each worker leaves its
process id in FOLDER/ROUND.RANK.
"""

import os
import pathlib
import signal
import sys
import time

from absl import app, flags

from l2o.errors import InputError
from trainers.harness import signals
from trainers.processes import elastic, leader, leaving, parent, rounds
from trainers.processes import flags as processes


def wait(folder, rank):
  with signals.on_sigterm() as request:
    parent.attach()
    (folder / f'{rounds.mine().number}.{rank}').write_text(str(os.getpid()))
    while not (folder / 'done').exists():
      if request.made:
        leaving.now(143)
      time.sleep(0.02)


def crash(folder, rank):
  if rank == 1:
    parent.attach()
    os.kill(os.getpid(), signal.SIGSEGV)
  wait(folder, rank)


def refuse(folder, rank):
  if rank:
    leaving.now(leaving.LOST)  # as the watch does
  time.sleep(0.5)
  leaving.refuse(InputError('no such thing'))


def main(argv):
  leader.SETTLE_SECS, leader.MOST_IDLE = 0.5, 2
  try:
    command = processes.asked()
    if not parent.is_worker():
      sys.exit(elastic.run(command, {'value': flags.FLAGS.value}))
    here = rounds.mine().command(command)
    globals()[flags.FLAGS.do](pathlib.Path(flags.FLAGS.mark), here.index)
  except InputError as error:
    leaving.refuse(error)


if __name__ == '__main__':  # the flags too, since doctest imports this module
  processes.define()
  flags.DEFINE_string('do', 'wait', 'Name of a function below.')
  flags.DEFINE_integer('value', 0, 'Must be the same in all processes.')
  flags.DEFINE_string('mark', '', 'Folder of the marks.')
  app.run(main)

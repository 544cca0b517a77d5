"""One of several processes, from its start to its end."""

import importlib.metadata
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from l2o.errors import InputError, RunError, first_line
from trainers.harness import signals, workdir
from trainers.processes import agreement, connect, leaving, parent, progress, rounds, store
from trainers.processes import watch as watching
from trainers.processes.flags import Command


class LostError(RunError):
  """Another process went away before all were connected."""

  exit_code = leaving.LOST


def work(command: Command, run: Callable[[], None], alike: Mapping[str, Any]) -> None:
  """Does a run together with the other processes.

  Args:
    command: what the flags of this process say.
    run: the run.
    alike: name -> plain data that must be equal in all processes.

  Raises:
    InputError: before the processes were connected; later errors end the process here.
  """
  with signals.on_sigterm() as request:
    parent.attach()

    def stop() -> None:
      if request.made:
        raise signals.TerminatedError('ended by SIGTERM before anything was computed')

    command = _connect(command, stop)
    if store.count() == 1:  # --detect_processes found one, or an elastic round has one
      run()
      return
    watch = watching.Watch(command.limits)
    parent.tell('running' if rounds.mine() else f'running {store.index()} {store.count()}')
    try:
      _run(run, alike)
    except BaseException as error:
      _end(error, watch, command)
    _part(watch)


def _connect(command: Command, stop: Callable[[], None]) -> Command:
  """Connects this process to the run, or to a round of an elastic run; returns its command."""
  elastic = rounds.mine()
  if elastic is None:
    connect.connect(command, stop)
    return command
  command = elastic.command(command)
  if command.count > 1:
    try:
      connect.connect(command, stop)
    except InputError as error:  # the round's processes were there a moment ago
      raise LostError(str(error)) from error
  return command


def _run(run: Callable[[], None], alike: Mapping[str, Any]) -> None:
  if not store.is_first():
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # not only Python: gloo prints to stdout too
  agreement.same({'number of processes': store.count(), **software()}, 'their software')
  agreement.same(alike, 'their flags')
  progress.progressed()
  run()
  agreement.gathered('done')


def software() -> dict[str, str]:
  """What must be equal in all processes besides their flags."""
  packages = {name: importlib.metadata.version(name) for name in workdir.PACKAGES}
  return {'code revision': workdir.revision(), 'Python': platform.python_version(), **packages}


def _part(watch: watching.Watch) -> None:
  """Ends a run that is done in all processes."""
  import jax

  watch.stop()
  parent.tell('leaving 0')
  try:
    jax.distributed.shutdown()
  except RuntimeError:
    leaving.now(0)  # a process left without shutting down, but all had done their work


def _end(error: BaseException, watch: watching.Watch, command: Command) -> NoReturn:
  """Reports an error and ends this process, unless the watch ends it for another's error."""
  if _may_be_anothers(error):
    time.sleep(command.limits.lost + watching.GRACE_SECS + 2 * watching.BEAT_SECS)
  if not leaving.begin():
    threading.Event().wait()
  if isinstance(error, InputError | RunError):
    leaving.say(error)
    joint = getattr(error, 'agreed', False) or isinstance(error, signals.TerminatedError)
    watch.end(error.exit_code, watching.JOINT if joint else watching.FAILED, first_line(error))
  if isinstance(error, KeyboardInterrupt):
    leaving.say(f'interrupted; {leaving.RESUMES}')
    watch.end(leaving.INTERRUPTED, watching.FAILED, 'interrupted')
  traceback.print_exception(error)
  watch.end(1, watching.FAILED, f'{type(error).__name__}: {first_line(error)}')


def _may_be_anothers(error: BaseException | None) -> bool:
  """Whether JAX may have raised it because another process is gone, which is noticed only later."""
  from jax.errors import JaxRuntimeError

  while error is not None:
    if isinstance(error, JaxRuntimeError) or 'gloo' in str(error).lower():
      return True
    error = error.__cause__ or error.__context__
  return False

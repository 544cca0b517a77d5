"""Where main.py hands over: the run in this process, or as one of several."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainers.processes import leaving, parent
from trainers.processes.flags import Command


def launch(command: Command | None, run: Callable[[], None], alike: Mapping[str, Any]) -> None:
  """Does a run.

  With several processes, this one only waits beside a copy of itself that does the work.

  Args:
    command: what the flags say of the processes; None for one process.
    run: the run.
    alike: name -> plain data that must be equal in all processes.

  Raises:
    InputError: a process is missing or was told something else; also what `run` raises.
    RunError: what `run` raises.
  """
  if command is None:
    _alone(run)
  elif parent.is_worker():
    from trainers.processes import worker  # imports asyncio

    worker.work(command, run, alike)
  elif command.elastic:
    from trainers.processes import elastic

    sys.exit(elastic.run(command, alike))
  else:
    sys.exit(parent.run(command))


def _alone(run: Callable[[], None]) -> None:
  try:
    with _ended_by_sigterm():
      run()
  except KeyboardInterrupt:
    leaving.say(f'interrupted; {leaving.RESUMES}')
    leaving.now(leaving.INTERRUPTED)  # a usual exit trips over a save that is half begun


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
  """Outside of the stages' loops, which save first, SIGTERM ends the run in a sentence."""

  def end(number: int, frame: Any) -> None:
    leaving.say(f'ended by SIGTERM; {leaving.RESUMES}')
    leaving.now(leaving.TERMINATED)

  before = signal.signal(signal.SIGTERM, end)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)

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
  with _ended_by_signals():
    run()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
  """Ctrl-C, and SIGTERM outside of the stages' loops, which save first, end the run in a sentence.

  At once: an exception would pass through a save that is half begun, and Orbax prints its trace.
  """
  said = {signal.SIGINT: 'interrupted', signal.SIGTERM: 'ended by SIGTERM'}

  def end(number: int, frame: Any) -> None:
    leaving.say(f'{said[signal.Signals(number)]}; {leaving.RESUMES}')
    leaving.now(128 + number)

  before = {number: signal.signal(number, end) for number in said}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)

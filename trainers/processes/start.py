"""Where main.py hands over: starts the run in this process, or in one of several."""

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
    command: what the flags say about the processes; None for one process.
    run: the run.
    alike: name -> plain data that must be equal in all processes.

  Raises:
    InputError: a process is missing or has other flags; also what `run` raises.
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
  """Ends a run in a sentence at Ctrl-C, or at SIGTERM outside the stages' loops, which save first.

  At once: an exception could interrupt a save half done, and Orbax would print its trace.
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

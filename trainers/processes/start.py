"""Where main.py hands over: the run in this process, or as one of several."""

import sys
from collections.abc import Callable, Mapping
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
    run()
  except KeyboardInterrupt:
    leaving.say(f'interrupted; {leaving.RESUMES}')
    leaving.now(leaving.INTERRUPTED)  # a usual exit trips over a save that is half begun

"""A round of an elastic run: the processes that are present, as a run of their own."""

import functools
import json
import os
from typing import NamedTuple

from trainers.processes.flags import Command

VARIABLE = 'L2O_ROUND'  # in the worker's environment


class Round(NamedTuple):
  """What process 0 gives each process for a round."""

  number: int  # from 1
  host: str  # where JAX's coordinator of this round is
  port: int
  count: int
  index: int  # of this process among those of the round
  hosts: int  # --num_processes

  def environment(self) -> dict[str, str]:
    """The worker's environment variables."""
    return {VARIABLE: json.dumps(self)}

  def command(self, whole: Command) -> Command:
    """The command of this round's run.

    Args:
      whole: the command of the elastic run.
    """
    return whole._replace(host=self.host, port=self.port, count=self.count, index=self.index)


@functools.cache
def mine() -> Round | None:
  """The round that this worker works in; None unless the run is elastic."""
  given = os.environ.get(VARIABLE)
  return Round(*json.loads(given)) if given else None

"""When a loop pauses to save, or to end: agreed on by all processes of a run."""

import time
from collections.abc import Callable

from trainers.harness import signals
from trainers.processes import agreement, store

ASK_SECS = 1.0  # between agreements of several processes; a single process asks at every step


class Pause:
  """Whether it is time to save, and whether to end there.

  Clocks and signals differ between processes, so they agree at a step that all of them know, about
  once a second: one signal to one process ends them all after the same step.

  Args:
    request: whether this process was asked to stop.
    is_due: whether enough time has passed since the last save; only process 0's answer counts.
    start: steps already done.
  """

  def __init__(self, request: signals.Request, is_due: Callable[[], bool], start: int):
    self.ends = False
    self._request = request
    self._is_due = is_due
    self._asked = start
    self._next = start + 1
    self._since = time.monotonic()

  def due(self, done: int) -> bool:
    """Whether to save after this step."""
    return done >= self._next and self.ask(done)

  def ask(self, done: int) -> bool:
    """Agrees on whether to save or to end now, and on the step at which to ask next."""
    mine = {'ends': self._request.made, 'due': self._is_due(), 'next': self._proposed(done)}
    answers = agreement.gathered(mine)
    self.ends = any(answer['ends'] for answer in answers)
    self._asked, self._since = done, time.monotonic()
    self._next = answers[0]['next']
    return self.ends or answers[0]['due']

  def _proposed(self, done: int) -> int:
    if store.count() == 1:
      return done + 1
    a_step = (time.monotonic() - self._since) / max(done - self._asked, 1)
    return done + max(1, round(ASK_SECS / max(a_step, 1e-6)))

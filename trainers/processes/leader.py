"""The decisions of process 0 in an elastic run: who works in a round, and when the run ends.

This module has no clock, socket or process, only what was heard and what follows from it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from trainers.processes import leaving, preflight
from trainers.processes.flags import Command

SETTLE_SECS = 3.0  # time for others to be missed, or to come back, before a round is made
MOST_IDLE = 5  # rounds in a row that a worker breaks before anything new is saved

Order = tuple[int, dict[str, Any]]  # (process, message)


class Ended(NamedTuple):
  """How a process's worker ended."""

  code: int
  killed: bool  # by a signal
  asked: bool  # after a signal to its parent, which then leaves the run
  saved: str  # what it saved last


class Verdict(NamedTuple):
  """How the run ends for all."""

  code: int
  sentence: str = ''


class Leader:
  """The rounds of a run.

  Args:
    command: what the flags of process 0 say.
    now: the time in seconds.
  """

  def __init__(self, command: Command, now: float) -> None:
    self.verdict: Verdict | None = None
    self.number = 0  # of the last round
    self.present: set[int] = set()
    self._command = command
    self._since = now  # since when no process works
    self._came: float | None = None  # when a process outside the round came
    self._leaving: set[int] = set()
    self._members: set[int] = set()  # processes of the round that are still there
    self._ends: dict[int, Ended] = {}  # of their workers
    self._causes: dict[int, str] = {}  # of the next round: what happened to a process
    self._is_first = self._is_between = True  # rounds
    self._broken = self._fault = self._told = self._killed = False
    self._refusal = 0
    self._saved: set[str] = set()
    self._idle = 0

  def join(self, index: int, number: int, now: float) -> None:
    """A process joins, perhaps from a round of an earlier process 0."""
    self.present.add(index)
    if number > self.number:
      self.number, self._since = number, now
      self._causes[0] = 'is back'
    elif not self._is_first:
      self._causes[index] = 'is back'
      self._came = now

  def leave(self, index: int) -> None:
    """A process is gone, or has left after a signal."""
    self._causes[index] = 'was told to end' if index in self._leaving else 'is gone'
    self._broken |= index in self._working()
    for those in (self.present, self._members, self._leaving):
      those.discard(index)

  def part(self, index: int, code: int) -> None:
    """A process is leaving after a signal; if it is process 0, the run ends."""
    self._leaving.add(index)
    if index == 0 and self.verdict is None:
      self.verdict = Verdict(code)

  def end(self, index: int, number: int, ended: Ended) -> None:
    """A worker has ended."""
    if number != self.number or index not in self._working():
      return
    self._ends[index] = ended
    if ended.asked:
      self._leaving.add(index)
      self._broken |= ended.code not in (0, leaving.TERMINATED)
    elif self._broken or ended.code in (0, leaving.TERMINATED):
      return
    elif ended.killed:
      self._broken = self._fault = True
      self._causes[index] = 'lost its worker'
    elif ended.code == leaving.LOST:
      self._fault = True  # of another process, which is about to end: perhaps with a refusal
    else:
      self._refusal = self._refusal or ended.code

  def orders(self, now: float) -> list[Order]:
    """The orders that are due now; to be called repeatedly."""
    if self.verdict is None and not self._is_between and not self._working():
      self._conclude(now)
    if self.verdict is not None:
      return []
    return self._gather(now) if self._is_between else self._hurry(now)

  def _working(self) -> set[int]:
    return self._members - self._ends.keys()

  def _hurry(self, now: float) -> list[Order]:
    """Ends a round that is broken, or that a new process waits to join."""
    if self._broken and not self._killed:
      self._killed = True
      return [(i, {'order': 'kill'}) for i in sorted(self._working())]
    if self._came is not None and not (self._told or self._broken):
      if not self.present - self._members:
        self._came = None
      elif now - self._came > SETTLE_SECS:
        self._told = True
        return [(i, {'order': 'pause'}) for i in sorted(self._working())]
    return []

  def _conclude(self, now: float) -> None:
    """The round is over: either there is a verdict, or another round follows."""
    codes = {ended.code for ended in self._ends.values()}
    news = {ended.saved for ended in self._ends.values() if ended.saved} - self._saved
    self._saved |= news
    self._idle = 0 if news else self._idle + self._fault
    if 0 in codes:  # a worker waits for all to be done
      self.verdict = Verdict(0)
    elif self._refusal:
      self.verdict = Verdict(self._refusal)
    elif 0 in self._leaving:
      self.verdict = Verdict(self._ends[0].code)
    elif codes == {leaving.TERMINATED} and not (self._told or self._broken or self._is_left()):
      self.verdict = Verdict(leaving.TERMINATED)  # the worker itself got a signal
    elif self._idle >= MOST_IDLE:
      self.verdict = Verdict(
        leaving.LOST,
        f'{MOST_IDLE} rounds in a row were lost before anything new was saved; fix the errors '
        f'reported above; {leaving.RESUMES}',
      )
    self._is_between, self._since = True, now

  def _is_left(self) -> bool:
    return any(ended.asked for ended in self._ends.values())

  def _gather(self, now: float) -> list[Order]:
    there = sorted(self.present - self._leaving)
    away = [i for i in range(self._command.count) if i not in there]
    if 0 in away:
      return []
    if away and not self.number:
      if now - self._since > self._command.limits.start:
        self.verdict = Verdict(2, preflight.missing(self._command, away))
      return []
    if away and now - self._since <= SETTLE_SECS:
      return []
    return self._begin(there)

  def _begin(self, there: list[int]) -> list[Order]:
    self.number += 1
    self._is_first = self._is_between = False
    self._members, self._ends, self._came = set(there), {}, None
    self._broken = self._fault = self._told = self._killed = False
    about = {'order': 'round', 'number': self.number, 'count': len(there)}
    return [(i, {**about, 'index': rank}) for rank, i in enumerate(there)]

  def line(self) -> str:
    """A line about the round that has just begun."""
    why = ', '.join(f'process {i} {what}' for i, what in sorted(self._causes.items()))
    self._causes = {}
    return (
      f'[run] round {self.number}: on process{"es" if len(self._members) > 1 else ""} '
      f'{_listed(sorted(self._members))} of {self._command.count}{f" ({why})" if why else ""}'
    )


def _listed(numbers: Sequence[int]) -> str:
  *most, last = map(str, numbers)
  return f'{", ".join(most)} and {last}' if most else last

"""Notices that another process is lost or has failed, or that this one is stuck, and ends this one.

JAX ends the survivors of a lost process by aborting, without saying which one was lost, and misses
a process that lives but hangs. Each process leaves a counter in the shared store every second, and
a reason when it ends early. One thread talks to the store, where it may hang; another one decides.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterable

from trainers.processes import leaving, parent, progress, store
from trainers.processes.flags import Limits

BEAT_SECS = 1.0
GRACE_SECS = 3.0  # for the same error to appear in this process, which then says it itself
PLACE = 'l2o/watch/'

JOINT, FAILED, FOLLOWS = 'joint', 'failed', 'follows'  # why it ends: with all, alone, after another


class Others:
  """What this process knows of the others, by its own clock."""

  def __init__(self, count: int, index: int, limits: Limits, now: float) -> None:
    self.count, self.index, self.limits = count, index, limits
    self.answered = now  # when the store last answered
    self._beats = {i: ('', now) for i in range(count) if i != index}  # last value, and since when
    self._ends: dict[int, tuple[str, str, float]] = {}  # reason, a line about it, time heard
    self._grace = {
      JOINT: limits.stuck, FAILED: GRACE_SECS, FOLLOWS: limits.lost + GRACE_SECS,
    }  # fmt: skip

  def hear(self, entries: Iterable[tuple[str, str]], now: float) -> None:
    """Takes in the entries of the store."""
    self.answered = now
    for key, value in entries:
      what, _, number = key.removeprefix(PLACE).partition('/')
      i = int(number)
      if i == self.index:
        continue
      if what == 'beat' and self._beats[i][0] != value:
        self._beats[i] = (value, now)
      elif what == 'end' and i not in self._ends:
        end = json.loads(value)
        self._ends[i] = (end['why'], end['line'], now)

  def forgive(self, now: float) -> None:
    """Restarts all clocks after this process itself was suspended."""
    self.answered = now
    self._beats = {i: (beat, now) for i, (beat, _) in self._beats.items()}

  def lost(self, now: float) -> list[int]:
    """Processes that showed no sign of life for too long, and did not say that they end."""
    return [
      i
      for i, (_, since) in self._beats.items()
      if i not in self._ends and now - since > self.limits.lost
    ]

  def have_left(self, now: float) -> bool:
    """Whether no other process is at work any more."""
    return self._beats.keys() == self._ends.keys() | set(self.lost(now))

  def _blamed(self, now: float) -> list[int]:
    """The processes to report as lost: at most process 0 while its store does not answer."""
    unanswered = now - self.answered
    if self.index and unanswered > 2 * BEAT_SECS:
      return [0] if unanswered > self.limits.lost else []
    return self.lost(now)

  def verdict(self, now: float) -> str:
    """Why another process forces this one to end, in a sentence; empty if none does."""
    silent = f'no sign of life for {self.limits.lost} s; {leaving.RESUMES}'
    for i in self._blamed(now):
      return f'process {i} of {self.count} is lost: {silent}'
    for i, (why, line, since) in sorted(self._ends.items()):
      if now - since > self._grace[why]:
        return (
          f'process {i} of {self.count} failed ({line}); its own output says more; '
          f'{leaving.RESUMES}'
        )
    return ''


class Watch:
  """Two threads beside the run."""

  def __init__(self, limits: Limits) -> None:
    self._limits = limits
    self._others = Others(store.count(), store.index(), limits, time.monotonic())
    self._done = threading.Event()
    self._threads = [
      threading.Thread(target=work, daemon=True, name=f'l2o {work.__name__}')
      for work in (self._exchange, self._judge)
    ]
    for thread in self._threads:
      thread.start()

  def stop(self) -> None:
    """Ends the watch, once all processes have agreed that the run is done."""
    self._done.set()
    for thread in self._threads:
      thread.join(2 * BEAT_SECS)

  def end(self, code: int, why: str, line: str) -> None:
    """Ends this process early; process 0 last, since the others need its store until then."""
    parent.tell(f'leaving {code}')
    own = json.dumps({'why': why, 'line': line})
    place = f'{PLACE}end/{store.index()}'
    leaving.bounded(lambda: store.shared().key_value_set(place, own), 2 * BEAT_SECS)
    if store.is_first():
      longest = self._limits.stuck if why == JOINT else 2 * self._limits.lost
      until = time.monotonic() + longest
      while not self._others.have_left(time.monotonic()) and time.monotonic() < until:
        time.sleep(BEAT_SECS / 10)
      time.sleep(BEAT_SECS / 2)  # between leaving a reason and being gone
    leaving.now(code)

  def _exchange(self) -> None:
    from jax.errors import JaxRuntimeError

    kv, number = store.shared(), 0
    while not self._done.is_set():
      number += 1
      with contextlib.suppress(JaxRuntimeError):  # no answer: `_judge` notices
        kv.key_value_set(f'{PLACE}beat/{store.index()}', str(number), allow_overwrite=True)
        self._others.hear(kv.key_value_dir_get(PLACE), time.monotonic())
      self._done.wait(BEAT_SECS)

  def _judge(self) -> None:
    last = time.monotonic()
    while not self._done.wait(BEAT_SECS / 2):
      now = time.monotonic()
      parent.tell('alive')
      if now - last > self._limits.lost / 2:
        self._others.forgive(now)
      elif not leaving.has_begun():
        self._act(now)
      last = now

  def _act(self, now: float) -> None:
    me, count, stuck = store.index(), store.count(), self._limits.stuck
    sentence = self._others.verdict(now)
    if sentence:
      self._end_with(sentence, FOLLOWS, sentence)
    elif progress.idle_secs() > stuck:
      line = f'no progress for {stuck} s'
      sentence = f'process {me} of {count} is stuck: {line} (--stuck_secs); {leaving.RESUMES}'
      self._end_with(sentence, FAILED, line)

  def _end_with(self, sentence: str, why: str, line: str) -> None:
    if leaving.begin():
      leaving.say(sentence)  # in a thread, so that this one stays alive for the parent
      threading.Thread(target=self.end, args=(leaving.LOST, why, line), daemon=True).start()

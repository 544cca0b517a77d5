"""The outer loop: the only loop over steps, generations or evaluation rows."""

import time
from collections.abc import Callable
from typing import Any

from trainers.processes.progress import progressed

Action = Callable[[int, Any], None]


def run(
  step: Callable[[Any, Any], tuple[Any, Any]],
  state: Any,
  feed: Callable[[int], Any],
  start: int,
  stop: int,
  on_metrics: Callable[[int, Any], None],
  report: Action = lambda step, state: None,
  save_due: Callable[[int], bool] = lambda step: False,
  save: Action = lambda step, state: None,
) -> Any:
  """Runs `step` from `start` to `stop`, keeping the device busy.

  The metrics of a step are read only after the next step has been dispatched, and the next step's
  input is drawn while this one computes. Before a save, pending metrics are read first: a saved
  state has been checked, and its metrics are on disk.

  Args:
    step: (state, input) -> (state, metrics); it may donate the state.
    state: the initial state.
    feed: step number -> its input.
    start: steps already done.
    stop: total number of steps.
    on_metrics: called with (steps done, metrics), in order; it may raise to end the run.
    report: called after each step with (steps done, state).
    save_due: (steps done) -> whether it is time to save.
    save: called with (steps done, state) when a save is due.

  Returns:
    The final state.
  """
  pending = None
  for i in range(start, stop):
    state, metrics = step(state, feed(i))
    if pending is not None:
      on_metrics(*pending)
    pending = (i + 1, metrics)
    progressed()
    report(i + 1, state)
    if save_due(i + 1):
      on_metrics(*pending)
      pending = None
      save(i + 1, state)
  if pending is not None:
    on_metrics(*pending)
  return state


def progress(
  name: str, unit: str, start: int, stop: int, every_secs: float, follows: float = 0.0
) -> Action:
  """An action that prints the rate and the time left, every `every_secs` and at the end.

  Args:
    name: the stage's name.
    unit: name of a step.
    start: steps already done.
    stop: total number of steps.
    every_secs: seconds between lines.
    follows: the work left after this stage, in steps of this stage.
  """
  begun = time.monotonic()

  printed: float | None = None

  def report(step: int, state: Any) -> None:
    nonlocal printed
    now = time.monotonic()
    if printed is None:
      printed = now  # the first step compiles, so its rate is meaningless
    if now - printed <= every_secs and step != stop:
      return
    printed = now
    rate = max(step - start, 1) / max(now - begun, 1e-9)
    left = (stop - step) / rate
    whole = f', of the whole run about {duration(left + follows / rate)}' if follows else ''
    print(
      f'[{name}] {unit} {step}/{stop} ({100 * step / stop:.0f} %), '
      f'{rate:.3g}/s, {duration(now - begun)} elapsed, ETA {duration(left)}{whole}',
      flush=True,
    )

  return report


def duration(seconds: float) -> str:
  """Hours, minutes and seconds.

  Example:
    >>> duration(3671.2)
    '1:01:11'
  """
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02d}:{seconds:02d}'

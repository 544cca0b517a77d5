"""What every training stage does around its step: restore, log, checkpoint, report."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from checkpoints import Checkpoints
from trainers import interrupt, loop, metrics


class Options(NamedTuple):
  """How often a run reports and saves."""

  log_every_secs: float
  checkpoint_every_secs: float
  keep_checkpoints: int


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
  """Metrics [] as numbers."""
  return {name: float(value) for name, value in metrics.items()}


def train(
  step: Callable[[Any, Any], tuple[Any, Any]],
  state: Any,
  *,
  feed: Callable[[int], Any],
  stop: int,
  check: Callable[[int, Mapping[str, float]], None],
  log_every: int,
  unit: str,
  folder: pathlib.Path,
  options: Options,
  expand: Callable[[Mapping[str, Any]], Mapping[str, float]] = scalars,
  evaluate: Callable[[int, Any], Mapping[str, float]] | None = None,
  eval_every: int = 1,
) -> Any:
  """Runs a stage's loop from its newest checkpoint, if there is one, to the end.

  Args:
    step: (state, input) -> (state, metrics []), compiled.
    state: the initial state, whose shapes, dtypes and places a checkpoint must have.
    feed: number of the step -> its input.
    stop: steps in all.
    check: (steps done, metrics), called for every step; raises to end the run.
    log_every: steps between two rows of metrics.
    unit: what a step is called.
    folder: the stage's; gets `checkpoints`, `metrics.jsonl` and TensorBoard events.
    options: how often to report and save.
    expand: metrics as fetched -> numbers to write.
    evaluate: (steps done, state) -> further numbers to write, beside keeping what it wants to.
    eval_every: steps between two evaluations; there is one at the end, too.
  """
  saved = Checkpoints(
    folder / 'checkpoints', options.checkpoint_every_secs, options.keep_checkpoints
  )
  state, start = saved.restore_or(state)
  writer = metrics.create_writer(folder, start)

  def on_metrics(done: int, values: Any) -> None:
    values = jax.device_get(values)
    if done % log_every == 0 or done == stop:
      writer.write_scalars(done, expand(values))
    check(done, values)

  progress = loop.progress(folder.name, unit, start, stop, options.log_every_secs)

  def report(done: int, state: Any) -> None:
    if evaluate and (done % eval_every == 0 or done == stop):
      writer.write_scalars(done, evaluate(done, state))
    progress(done, state)

  with interrupt.on_sigterm() as request:

    def due() -> bool:
      return request.made or saved.is_due()

    def save(done: int, state: Any) -> None:
      saved.save(done, state)
      if request.made:
        raise interrupt.TerminatedError(
          f'{folder.name}: ended by SIGTERM after {unit} {done} of {stop}, saved; the same '
          f'command goes on from there'
        )

    try:
      state = loop.run(step, state, feed, start, stop, on_metrics, report, due, save)
      save(stop, state)
    finally:
      saved.close()
      writer.close()
  return state

"""The code around every training stage's step: restore, log, checkpoint, report."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from checkpoints import Checkpoints
from trainers.checks import blocks
from trainers.harness import loop, signals, writers
from trainers.harness.folder import CHECKPOINTS, Folder
from trainers.harness.pause import Pause
from trainers.harness.times import Times
from trainers.processes import agreement, arrays, parent


class Options(NamedTuple):
  """How often a run reports and saves, and what is known about its data."""

  log_every_secs: float
  checkpoint_every_secs: float
  keep_checkpoints: int
  of_data: Mapping[str, int] = {}  # for the metrics, at step 0, and for the results
  work: Mapping[str, float] = {}  # folder of each stage -> its amount of work, in a common unit


def options(config: blocks.Run, of_data: Mapping[str, int]) -> Options:
  """The options set in a config."""
  every = config.log_every_secs, config.checkpoint_every_secs
  return Options(*every, config.keep_checkpoints, of_data)


class Evaluate(NamedTuple):
  """A periodic evaluation, also run at the end."""

  every: int
  measure: Callable[[int, Any], Mapping[str, float]]  # (steps done, state) -> numbers to write
  from_the_start: bool = False  # whether the initial state is evaluated too


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
  """Metrics [] as numbers."""
  return {name: float(value) for name, value in metrics.items()}


def run(
  step: Callable[[Any, Any], tuple[Any, Any]],
  state: Any,
  *,
  feed: Callable[[int], Any],
  stop: int,
  check: Callable[[int, Mapping[str, float]], None],
  log_every: int,
  unit: str,
  folder: Folder,
  options: Options,
  expand: Callable[[Mapping[str, Any]], Mapping[str, float]] = scalars,
  evaluate: Evaluate | None = None,
) -> Any:
  """Runs a stage's loop to the end, from its newest checkpoint if there is one.

  Args:
    step: (state, input) -> (state, metrics []), compiled.
    state: the initial state, consumed; a checkpoint must match its shapes, dtypes and shardings.
    feed: step number -> its input.
    stop: total number of steps.
    check: (steps done, metrics), called for every step; raises to end the run.
    log_every: steps between rows of metrics.
    unit: name of a step in progress lines.
    folder: the stage's folder; holds `checkpoints` and the output of `writers.create_writer`.
    options: see `Options`.
    expand: fetched metrics -> numbers to write.
    evaluate: the periodic evaluation, if any.
  """
  saved = _checkpoints(folder, options)
  state, start = _restored(saved, state)
  writer = writers.create_writer(folder, start)
  if options.of_data and not start:
    writer.write_scalars(0, options.of_data)
  if evaluate and evaluate.from_the_start and not start:
    writer.write_scalars(0, evaluate.measure(0, state))

  def on_metrics(done: int, values: Any) -> None:
    fetched = arrays.get(values)
    if done % log_every == 0 or done == stop:
      writer.write_scalars(done, expand(fetched))
    check(done, fetched)

  follows = following(options.work, folder.name, stop)
  progress = loop.progress(folder.name, unit, start, stop, options.log_every_secs, follows)
  report = _evaluating(evaluate, progress, writer, stop) if evaluate else progress
  with signals.on_sigterm() as request, contextlib.closing(writer), _closing(saved):
    pause, times = Pause(request, saved.is_due, start), Times(folder, start)

    def save(done: int, state: Any) -> None:
      saved.save(done, state)
      times.write(done)
      parent.tell(f'saved {folder.name} {done}')
      if pause.ends:
        raise _terminated(f'{folder.name}: ended by SIGTERM after {unit} {done} of {stop}')

    state = loop.run(step, state, feed, start, stop, on_metrics, report, pause.due, save)
    pause.ask(stop)
    save(stop, state)
  return state


def following(work: Mapping[str, float], stage: str, num_steps: int) -> float:
  """The work left after a stage, in steps of that stage.

  Example:
    >>> following({'pretrain': 600.0, 'meta_train': 4000.0, 'meta_evaluate': 500.0}, 'pretrain', 20)
    150.0
    >>> following({'pretrain': 600.0}, 'pretrain', 20), following({}, 'train', 7)
    (0.0, 0.0)
  """
  names = list(work)
  if not work.get(stage):
    return 0.0
  later = sum(work[name] for name in names[names.index(stage) + 1 :])
  return num_steps * later / work[stage]


def _restored(saved: Checkpoints, initial: Any) -> tuple[Any, int]:
  state, start = saved.restore_or(initial)
  if start:  # the caller still has the initial state, which is as large
    for leaf in jax.tree.leaves(initial):
      if isinstance(leaf, jax.Array):
        leaf.delete()
  return state, start


def _checkpoints(folder: Folder, options: Options) -> Checkpoints:
  settings = options.checkpoint_every_secs, options.keep_checkpoints
  return Checkpoints(folder / CHECKPOINTS, *settings, decided=agreement.decided)


@contextlib.contextmanager
def _closing(saved: Checkpoints) -> Iterator[None]:
  """Waits for pending saves, but not after a Ctrl-C, which may have interrupted one."""
  try:
    yield
  except Exception:
    saved.close()
    raise
  saved.close()


def _terminated(what: str) -> signals.TerminatedError:
  return signals.TerminatedError(f'{what}, saved; the same command resumes from there')


def _evaluating(evaluate: Evaluate, report: loop.Action, writer: Any, stop: int) -> loop.Action:
  def action(done: int, state: Any) -> None:
    if done % evaluate.every == 0 or done == stop:
      writer.write_scalars(done, evaluate.measure(done, state))
    report(done, state)

  return action

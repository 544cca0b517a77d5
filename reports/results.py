"""From the measurements of each task to the rows of results.json."""

import contextlib
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from reports import bootstrap

Results = list[dict[str, Any]]


class Outcome(NamedTuple):
  """One optimizer at one horizon on the tasks of one experiment."""

  experiment: str
  source: str
  optimizer: str
  family: str  # shared by the optimizers of a grid
  hand_designed: bool
  num_steps: int
  accuracy: np.ndarray  # [tasks], fractions of 1
  loss: np.ndarray  # [tasks]
  learning_rate: float | None = None  # of a row of a grid


def summarize(outcomes: Sequence[Outcome], samples: int, seed: int) -> Results:
  """Means over tasks, and each row's paired difference to the best hand-designed one.

  The best is chosen for each experiment and horizon by mean accuracy, in hindsight: the
  strongest opponent in the grid. The difference is accuracy minus that row's on the same tasks.

  Args:
    outcomes: all rows of all experiments.
    samples: bootstrap resamples for the 95 % interval of the difference.
    seed: of the resampling.

  Returns:
    One dict a row, in the given order; a value that is not finite is None.
  """
  best = _best(outcomes)
  rows = []
  for outcome in outcomes:
    reference = best.get((outcome.experiment, outcome.num_steps))
    rows.append({
      'experiment': outcome.experiment,
      'source': outcome.source,
      'optimizer': outcome.optimizer,
      'family': outcome.family,
      'hand_designed': outcome.hand_designed,
      'num_steps': outcome.num_steps,
      'accuracy_mean': float(outcome.accuracy.mean()),
      'accuracy_std': float(outcome.accuracy.std()),
      'loss_mean': _finite(outcome.loss.mean()),
      'tasks': len(outcome.accuracy),
      'best_hand_designed': reference is outcome,
      **(_difference(outcome, reference, samples, seed) if reference else {}),
    })  # fmt: skip
  _mark_edges(rows, outcomes)
  return rows


def _mark_edges(rows: Results, outcomes: Sequence[Outcome]) -> None:
  """Marks the best of a family's grid where it has the lowest or the highest rate, as 'at_edge'.

  A wider grid may have a better one there.
  """
  grids: dict[tuple, list[tuple[float, float, dict]]] = {}
  for row, outcome in zip(rows, outcomes, strict=True):
    if outcome.learning_rate is not None:
      key = outcome.experiment, outcome.family, outcome.num_steps
      grids.setdefault(key, []).append((row['accuracy_mean'], outcome.learning_rate, row))
  for grid in grids.values():
    _, rate, best = max(grid, key=lambda found: found[0])
    rates = [rate for _, rate, _ in grid]
    if len(rates) > 1 and rate in (min(rates), max(rates)):
      best['at_edge'] = True


def add_paper(rows: Results, paper: Mapping[str, Mapping], num_steps: Sequence[int]) -> None:
  """Adds a paper's accuracy to the rows it reports on, as 'paper', a fraction of 1.

  Args:
    rows: changed in place.
    paper: experiment -> optimizer -> accuracy in % at each horizon.
    num_steps: the horizons.

  Example:
    >>> rows = [{'experiment': 'A', 'optimizer': 'l3rs', 'num_steps': 10}]
    >>> add_paper(rows, {'A': {'l3rs': [50.0, 70.0]}}, [10, 25])
    >>> rows[0]['paper']
    0.5
  """
  for row in rows:
    if row['optimizer'] in paper.get(row['experiment'], {}):
      accuracy = paper[row['experiment']][row['optimizer']]
      row['paper'] = accuracy[num_steps.index(row['num_steps'])] / 100


def save(path: pathlib.Path, outcomes: Iterable[Outcome]) -> None:
  """Writes every task's accuracy and loss as arrays 'experiment/optimizer/steps/measure'."""
  arrays = {}
  for outcome in outcomes:
    name = f'{outcome.experiment}/{outcome.optimizer}/{outcome.num_steps}'
    arrays |= {f'{name}/accuracy': outcome.accuracy, f'{name}/loss': outcome.loss}
  np.savez(path, **arrays)


def read_lines(path: pathlib.Path) -> Results:
  """The rows of a metrics.jsonl, none if there is no file; damaged lines are skipped."""
  rows = []
  for line in path.read_bytes().splitlines() if path.is_file() else ():
    with contextlib.suppress(ValueError, RecursionError):  # not JSON, or not UTF-8
      row = json.loads(line)
      if isinstance(row, dict) and isinstance(row.get('step'), int):
        rows.append(row)
  return rows


def curve(rows: Results, experiment: str, optimizer: str) -> tuple[list[int], list[float]]:
  """Horizons and mean accuracies of one optimizer, in ascending order of the horizon."""
  points = sorted(
    (row['num_steps'], row['accuracy_mean'])
    for row in rows
    if row['experiment'] == experiment and row['optimizer'] == optimizer
  )
  return [steps for steps, _ in points], [accuracy for _, accuracy in points]


def paper_curve(rows: Results, experiment: str, optimizer: str) -> list[float]:
  """The paper's accuracies at the horizons of `curve`; empty if there are none."""
  points = sorted(
    (row['num_steps'], row['paper'])
    for row in rows
    if row['experiment'] == experiment and row['optimizer'] == optimizer and 'paper' in row
  )
  return [accuracy for _, accuracy in points]


def envelope(
  rows: Results, experiment: str, family: str | None = None
) -> tuple[list[int], list[float]]:
  """The best hand-designed accuracy at each horizon, of one family or of all."""
  best: dict[int, float] = {}
  for row in rows:
    rival = row['hand_designed'] and family in (None, row['family'])
    if rival and row['experiment'] == experiment:
      best[row['num_steps']] = max(best.get(row['num_steps'], 0.0), row['accuracy_mean'])
  return sorted(best), [best[steps] for steps in sorted(best)]


def experiments(rows: Results) -> list[str]:
  """The experiments' names, in the order of the rows."""
  return list(dict.fromkeys(row['experiment'] for row in rows))


def learned(rows: Results) -> list[str]:
  """The learned optimizers' names, in the order of the rows."""
  return list(dict.fromkeys(row['optimizer'] for row in rows if not row['hand_designed']))


def _best(outcomes: Sequence[Outcome]) -> dict[tuple[str, int], Outcome]:
  best: dict[tuple[str, int], Outcome] = {}
  for outcome in outcomes:
    key = outcome.experiment, outcome.num_steps
    if outcome.hand_designed and (
      key not in best or outcome.accuracy.mean() > best[key].accuracy.mean()
    ):
      best[key] = outcome
  return best


def _difference(outcome: Outcome, reference: Outcome, samples: int, seed: int) -> dict[str, float]:
  paired = outcome.accuracy - reference.accuracy
  low, high = bootstrap.interval(paired, samples, seed)
  return {
    'difference_mean': float(paired.mean()),
    'difference_low': low,
    'difference_high': high,
  }


def _finite(x: Any) -> float | None:
  return float(x) if math.isfinite(x) else None

"""How many fewer steps a learned optimizer needs for the same accuracy.

Source: arXiv 2408.09310, experiment F; accuracy is interpolated against the logarithm of steps.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from reports import results, tables


def steps_to_reach(steps: Sequence[int], accuracy: Sequence[float], target: float) -> float:
  """Where a curve of accuracy over log steps first reaches `target`.

  Args:
    steps: ascending.
    accuracy: at these steps.
    target: the requested accuracy.

  Returns:
    Steps, interpolated linearly in their logarithm; the first of `steps` if the curve begins
    above the target, infinity if it never reaches it.

  Example:
    >>> round(steps_to_reach([10, 1000], [0.5, 0.7], 0.6), 6)
    100.0
    >>> steps_to_reach([10, 1000], [0.5, 0.7], 0.8)
    inf
  """
  if accuracy[0] >= target:
    return float(steps[0])
  for i in range(1, len(steps)):
    if accuracy[i] >= target:
      fraction = (target - accuracy[i - 1]) / (accuracy[i] - accuracy[i - 1])
      low, high = math.log(steps[i - 1]), math.log(steps[i])
      return math.exp(low + fraction * (high - low))
  return math.inf


def over(rows: pd.DataFrame, experiment: str, optimizer: str, family: str) -> float:
  """Steps a family takes to its highest accuracy, over those a learned optimizer needs for it.

  Args:
    rows: from `results.frame`.
    experiment: the experiment whose tasks are compared.
    optimizer: the learned one.
    family: the hand-designed one.

  Returns:
    The ratio; infinity if the learned optimizer is already above that accuracy at its first
    horizon, where the ratio is unknown, and 0 if it never reaches it.
  """
  theirs = results.envelope(rows, experiment, family)
  ours = results.curve(rows, experiment, optimizer)
  if ours.iloc[0] >= theirs.max():
    return math.inf
  return theirs.idxmax() / steps_to_reach(ours.index, ours.array, theirs.max())  # x / inf is 0


def table(rows: pd.DataFrame, optimizer: str) -> str:
  """`over` for every family (rows) and experiment (columns)."""
  families = results.families(rows)
  cells = pd.DataFrame({
    '': families,
    **{
      name: [f'{_said(over(rows, name, optimizer, family)):>6}' for family in families]
      for name in results.experiments(rows)
    },
  })  # fmt: skip
  return '\n'.join([
    f'Speed-up of {optimizer}: steps of the family to its highest accuracy / steps to the same',
    tables.render(cells),
    'inf: above it at the first horizon already; never: does not get there',
  ])  # fmt: skip


def _said(ratio: float) -> str:
  return f'{ratio:.1f}x' if 0 < ratio < math.inf else 'inf' if ratio else 'never'


def line(
  rows: pd.DataFrame,
  experiment: str,
  optimizer: str,
  between: tuple[float, float] | None = None,
) -> str:
  """One sentence: the steps a learned optimizer needs for the best hand-designed accuracy.

  Args:
    rows: from `results.frame`.
    experiment: one of the rows' experiments.
    optimizer: the learned one.
    between: the interval of the ratio, from `interval`.
  """
  best = _best(rows, experiment)
  ours = results.curve(rows, experiment, optimizer)
  needed, first = steps_to_reach(ours.index, ours.array, best['accuracy_mean']), ours.index[0]
  said = (
    f'Speed-up, experiment {experiment}: {best["optimizer"]} has the best hand-designed accuracy, '
    f'{100 * best["accuracy_mean"]:.1f} % after {best["num_steps"]} steps; '
  )
  about = f' [{", ".join(map(_said, between))}]' if between else ''
  if math.isinf(needed):
    return said + f'{optimizer} does not reach it{about}'
  ratio = best['num_steps'] / needed
  if needed == first:
    return said + f'{optimizer} is above it at its first horizon, {first}: at least {ratio:.1f}x'
  return (
    said + f'{optimizer} reaches it after about {needed:.0f} (interpolated): {ratio:.1f}x{about}'
  )


def interval(
  records: pd.DataFrame,
  rows: pd.DataFrame,
  experiment: str,
  optimizer: str,
  samples: int,
  seed: int,
) -> tuple[float, float]:
  """The 95 % bootstrap interval over tasks of the ratio in `line`.

  Tasks are resampled for both optimizers together; the best row and its horizon are fixed to those
  of all tasks. A resample that does not reach the accuracy counts as a ratio of 0, and one that is
  above it at the first horizon as at least that ratio.

  Args:
    records: a table of `reports.records`.
    rows: what `results` makes of it.
    experiment: one of the rows' experiments.
    optimizer: the learned one.
    samples: resamples.
    seed: seed of the resampling.
  """
  best = _best(rows, experiment)
  measured = records[(records['experiment'] == experiment) & (records['measure'] == 'accuracy')]
  theirs = measured[
    (measured['optimizer'] == best['family']) & (measured['K'] == best['num_steps'])
  ]
  in_name = best['optimizer'].removeprefix(best['family']).strip()
  theirs = theirs[theirs['setting'] == (in_name if pd.isna(best['tuned']) else best['tuned'])]
  ours = measured[measured['optimizer'] == optimizer].pivot(
    index='task', columns='K', values='value'
  )
  targets = theirs.set_index('task')['value'].reindex(ours.index).to_numpy()
  chosen = np.random.default_rng(seed).integers(len(ours), size=(samples, len(ours)))
  curves = ours.to_numpy()[chosen].mean(axis=1)
  ratios = [
    best['num_steps'] / steps_to_reach(ours.columns, curve, target)
    for curve, target in zip(curves, targets[chosen].mean(axis=1), strict=True)
  ]
  low, high = np.percentile(ratios, [2.5, 97.5])
  return float(low), float(high)


def _best(rows: pd.DataFrame, experiment: str) -> pd.Series:
  rivals = rows[rows['hand_designed'] & (rows['experiment'] == experiment)]
  return rivals.loc[rivals['accuracy_mean'].idxmax()]

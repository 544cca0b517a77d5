"""How many fewer steps a learned optimizer needs for the same accuracy.

Source: arXiv 2408.09310, experiment F; accuracy is interpolated against the logarithm of steps.
"""

import math
from collections.abc import Sequence

from reports import results


def steps_to_reach(steps: Sequence[int], accuracy: Sequence[float], target: float) -> float:
  """Where a curve of accuracy over log steps first reaches `target`.

  Args:
    steps: ascending.
    accuracy: at these steps.
    target: the accuracy asked for.

  Returns:
    Steps, interpolated linearly in their logarithm; the first of `steps` if the curve begins
    above the target, infinity if it never gets there.

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


def over(rows: results.Results, experiment: str, optimizer: str, family: str) -> float:
  """Steps a family takes to its highest accuracy, over those a learned optimizer needs for it.

  Returns:
    The ratio; infinity if the learned optimizer is above that accuracy at its first horizon
    already, where the ratio is unknown, and 0 if it never gets there.
  """
  theirs = results.envelope(rows, experiment, family)
  target = max(theirs[1])
  ours = results.curve(rows, experiment, optimizer)
  if ours[1][0] >= target:
    return math.inf
  needed = steps_to_reach(*ours, target)
  return theirs[0][theirs[1].index(target)] / needed  # x / inf is 0


def table(rows: results.Results, optimizer: str) -> str:
  """`over` for every family (rows) and experiment (columns)."""
  names = results.experiments(rows)
  families = list(dict.fromkeys(row['family'] for row in rows if row['hand_designed']))
  width = max(map(len, families)) + 2
  lines = [
    f'Speed-up of {optimizer}: steps of the family to its highest accuracy / steps to the same',
    ' ' * width + ''.join(f'{name:>8}' for name in names),
  ]
  for family in families:
    ratios = [over(rows, name, optimizer, family) for name in names]
    lines.append(f'{family:<{width}}' + ''.join(f'{_said(ratio):>8}' for ratio in ratios))
  lines.append('inf: above it at the first horizon already; never: does not get there')
  return '\n'.join(lines)


def _said(ratio: float) -> str:
  return f'{ratio:.1f}x' if 0 < ratio < math.inf else 'inf' if ratio else 'never'


def line(rows: results.Results, experiment: str, optimizer: str) -> str:
  """One sentence: the steps a learned optimizer needs for the best hand-designed accuracy."""
  rivals = [row for row in rows if row['experiment'] == experiment and row['hand_designed']]
  best = max(rivals, key=lambda row: row['accuracy_mean'])
  steps, accuracy = results.curve(rows, experiment, optimizer)
  needed, first = steps_to_reach(steps, accuracy, best['accuracy_mean']), steps[0]
  said = (
    f'Speed-up, experiment {experiment}: {best["optimizer"]} has the best hand-designed accuracy, '
    f'{100 * best["accuracy_mean"]:.1f} % after {best["num_steps"]} steps; '
  )
  if math.isinf(needed):
    return said + f'{optimizer} does not reach it'
  ratio = best['num_steps'] / needed
  if needed == first:
    return said + f'{optimizer} is above it at its first horizon, {first}: at least {ratio:.1f}x'
  return said + f'{optimizer} reaches it after about {needed:.0f} (interpolated): {ratio:.1f}x'

"""What two groups of runs measured, and the paired differences between them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from reports import bootstrap
from reports.compare.runs import Group

SAMPLES = 10_000  # of the bootstrap
JOB = 'best/loss'  # what training jobs are compared by


class Difference(NamedTuple):
  """Of a group to the first one, in a measure where both have it."""

  measure: str
  mean: float
  low: float  # of the 95 % bootstrap interval over seeds, then tasks
  high: float
  wins: float  # fraction of pairs in which it is better; half of one if equal
  pairs: int
  seeds: int


def own(group: Group) -> dict[str, dict[int, np.ndarray]]:
  """Measure -> seed -> values [tasks] of the group's own optimizer.

  Accuracy in each experiment at each horizon, or the lowest evaluation loss of a training job.
  """
  found: dict[str, dict[int, np.ndarray]] = {}
  for run in group.runs:
    for name, values in _of_one(run.measured, run.workdir.is_job):
      found.setdefault(name, {})[run.seed] = values
  return found


def _of_one(measured: pd.DataFrame, is_job: bool):
  if is_job:
    values = measured.loc[measured['measure'] == JOB, 'value'].to_numpy(float)
    if len(values):
      yield 'lowest loss', values
    return
  kept = measured[(measured['measure'] == 'accuracy') & ~measured['hand_designed']]
  for (experiment, horizon), cell in kept.groupby(['experiment', 'K']):
    yield f'{experiment}, K = {horizon}', cell.sort_values('task')['value'].to_numpy(float)


def means(group: Group) -> dict[str, str]:
  """Measure -> mean over seeds and tasks, as it is shown: accuracy in %."""
  is_job = group.runs[0].workdir.is_job
  return {
    name: f'{np.mean([v.mean() for v in seeds.values()]) * (1 if is_job else 100):.4g}'
    for name, seeds in own(group).items()
  }


def differences(first: Group, other: Group) -> list[Difference]:
  """Paired differences of two groups' measures, on the same seeds and tasks.

  Accuracy is in points, and more of it is better; of a loss less is.
  """
  ours, theirs = own(other), own(first)
  is_job = first.runs[0].workdir.is_job
  made = []
  for name in [name for name in theirs if name in ours]:
    seeds = sorted(ours[name].keys() & theirs[name].keys())
    pairs = [ours[name][seed] - theirs[name][seed] for seed in seeds]
    if pairs and all(np.isfinite(of_seed).all() for of_seed in pairs):
      made.append(_difference(name, pairs, is_job))
  return made


def _difference(name: str, pairs: Sequence[np.ndarray], is_job: bool) -> Difference:
  scale, sign = (1, -1) if is_job else (100, 1)
  low, high = bootstrap.nested_interval(pairs, SAMPLES, seed=0)
  every = np.concatenate(pairs)
  wins = np.mean((np.sign(sign * every) + 1) / 2)
  return Difference(
    name, scale * every.mean(), scale * low, scale * high, float(wins), len(every), len(pairs)
  )


def together(groups: Mapping[str, Group]) -> pd.DataFrame:
  """Records of all groups' own optimizers, by the groups' names, and of their rivals once."""
  parts, known = [], set()
  for name, group in groups.items():
    for run in group.runs:
      mine = run.measured[~run.measured['hand_designed']]
      parts.append(mine.assign(optimizer=name))
      if run.seed not in known:
        parts.append(run.measured[run.measured['hand_designed']])
        known.add(run.seed)
  return pd.concat(parts)

"""What two groups of runs measured, and the paired differences between them."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from reports import bootstrap
from reports.compare.runs import Group

SAMPLES = 10_000  # of the bootstrap
JOB = 'best/loss'  # the measure by which training jobs are compared
LOWEST = 'lowest loss'  # the name shown for it
CELL = ['experiment', 'seed', 'K']


class Difference(NamedTuple):
  """The difference of a group from the first one, in a measure that both have."""

  measure: str
  mean: float
  low: float  # of the 95 % bootstrap interval over seeds, then tasks
  high: float
  wins: float  # fraction of pairs in which the group is better; a tie counts as half
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


def _of_one(measured: pd.DataFrame, is_job: bool) -> Iterator[tuple[str, np.ndarray]]:
  if is_job:
    values = measured.loc[measured['measure'] == JOB, 'value'].to_numpy(float)
    if len(values):
      yield LOWEST, values
    return
  kept = measured[(measured['measure'] == 'accuracy') & ~measured['hand_designed']]
  for (experiment, horizon), cell in kept.groupby(['experiment', 'K']):
    yield f'{experiment}, K = {horizon}', cell.sort_values('task')['value'].to_numpy(float)


def means(group: Group) -> dict[str, str]:
  """Measure -> mean over seeds and tasks, formatted; accuracy in %."""
  is_job = group.runs[0].workdir.is_job
  return {
    name: f'{np.mean([v.mean() for v in seeds.values()]) * (1 if is_job else 100):.4g}'
    for name, seeds in own(group).items()
  }


def lowest(group: Group) -> dict[int, float]:
  """Seed -> lowest evaluation loss of a job that has ended, infinite if none was finite."""
  found = {run.seed: np.inf for run in group.runs if run.workdir.results is not None}
  return found | {seed: float(loss) for seed, (loss,) in own(group).get(LOWEST, {}).items()}


def differences(first: Group, other: Group) -> list[Difference]:
  """Paired differences between two groups' measures, on the same seeds and tasks."""
  ours, theirs = own(other), own(first)
  is_job = first.runs[0].workdir.is_job
  found = [difference(name, theirs[name], ours[name], is_job) for name in theirs if name in ours]
  return [one for one in found if one]


def difference(
  measure: str, first: Mapping[int, np.ndarray], other: Mapping[int, np.ndarray], is_job: bool
) -> Difference | None:
  """One paired difference. Higher accuracy (in points) is better; for jobs, lower loss is.

  Args:
    measure: the measure's name.
    first: seed -> values [tasks] of the first group.
    other: the same for the group that is compared with it.
    is_job: whether the values are losses.

  Returns:
    None without a common seed, or if a value is not finite.
  """
  seeds = sorted(first.keys() & other.keys())
  pairs = [other[seed] - first[seed] for seed in seeds]
  if not pairs or not all(np.isfinite(of_seed).all() for of_seed in pairs):
    return None
  scale, sign = (1, -1) if is_job else (100, 1)
  low, high = bootstrap.nested_interval(pairs, SAMPLES, seed=0)
  every = np.concatenate(pairs)
  wins = float(np.mean((np.sign(sign * every) + 1) / 2))
  mean = float(every.mean())
  return Difference(measure, scale * mean, scale * low, scale * high, wins, len(every), len(pairs))


def together(groups: Mapping[str, Group]) -> pd.DataFrame:
  """Records of each group's own optimizer, under the group's name, and of all rivals once.

  Only the experiments, seeds and horizons that all groups have in common are kept.
  """
  mine: list[pd.DataFrame] = []
  rivals: dict[int, pd.DataFrame] = {}  # seed -> rivals of the first group that has any
  common: pd.MultiIndex | None = None
  for name, group in groups.items():
    every = pd.concat([run.measured for run in group.runs])
    ours = every[~every['hand_designed']]
    mine.append(ours.assign(optimizer=name))
    cells = pd.MultiIndex.from_frame(ours[CELL].drop_duplicates())
    common = cells if common is None else common.intersection(cells)
    for seed, of_seed in every[every['hand_designed']].groupby('seed'):
      rivals.setdefault(seed, of_seed)
  found = pd.concat([*mine, *rivals.values()])
  return found[pd.MultiIndex.from_frame(found[CELL]).isin(common)]

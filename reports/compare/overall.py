"""Comparable runs over all tasks or all seeds: interquartile means, wins and profiles."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from l2o.errors import InputError
from reports import profiles
from reports.compare import measures
from reports.compare.runs import Group, labels
from reports.page.blocks import Row, Table, columns
from reports.profiles import Profile

TICKS = 5  # on the step axis of the profile of training jobs
JOBS_NOTE = (
  'Lowest loss: interquartile mean over the seeds that have ended (of fewer than four seeds the '
  'mean), lower is better; a seed without a finite loss counts as infinite here, and is left out '
  'of the differences. Wins: seeds on which '
  'it is below that of {0}, half of one where equal. Figure: seeds whose evaluation loss has come '
  'down to the interquartile mean of {0}. Brackets: 95 % bootstrap interval over seeds.'
)


class Overall(NamedTuple):
  """What runs measured over all of their tasks, or training jobs over all of their seeds."""

  title: str
  table: Table
  profiles: Sequence[Profile]
  steps: Sequence[int]  # ticks of the figure
  axis: tuple[str, str]
  labels: Mapping[str, str]  # group -> its name in the figure

  def figure(self) -> Figure:
    """The performance profiles."""
    name = self.title.lower().removeprefix('over ')
    lines = [
      one._replace(optimizer=self.labels.get(one.optimizer, one.optimizer)) for one in self.profiles
    ]
    return profiles.figure({name: lines}, {name: self.steps}, self.axis)


def of(groups: Sequence[Group]) -> Overall | None:
  """Compares groups with the first one; None if fewer than two have ended.

  Args:
    groups: groups on the same tasks, as checked by `runs.apart`.
  """
  return _jobs(groups) if groups[0].runs[0].workdir.is_job else _pipelines(groups)


def _pipelines(groups: Sequence[Group]) -> Overall | None:
  ended = {group.name: group for group in groups if measures.own(group)}
  if len(ended) < 2:
    return None
  found, first = measures.together(ended), next(iter(ended))
  try:
    made = profiles.profiles(found, reference=first)
  except InputError:  # no seed and horizon in common
    return None
  horizons = sorted(found['K'].unique())
  cells = profiles.cells([one for one in made if one.learned], horizons)
  cells = cells.rename(columns={'optimizer': 'run'})
  heads = columns(*cells.columns, numeric=cells.columns[1:])
  rivals = any(not one.learned for one in made)
  note = profiles.NOTE if rivals else profiles.WITHOUT_FAMILIES.format(first)
  table = Table(heads, [Row(row) for row in cells.to_numpy().tolist()], note)
  axis = ('inner steps K', 'tasks at target')
  return Overall('Over all tasks', table, made, horizons, axis, labels(groups))


def _jobs(groups: Sequence[Group]) -> Overall | None:
  lowest = {group.name: found for group in groups if (found := measures.lowest(group))}
  if len(lowest) < 2:
    return None
  first = next(iter(lowest))
  target = float(profiles.iqm(np.array(list(lowest[first].values()))))
  ended = [group for group in groups if group.name in lowest]
  made = [_job(group, lowest[group.name], lowest[first], target) for group in ended]
  steps = np.concatenate([run.measured['K'] for group in ended for run in group.runs])
  ticks = np.unique(np.geomspace(max(1, steps.min()), steps.max(), TICKS).round().astype(int))
  names = ('run', 'lowest loss (IQM)', 'wins', 'seeds')
  rows = [
    Row([one.optimizer, _loss(one), _wins(one), str(len(one.steps))])
    for one in sorted(made, key=lambda one: one.score)
  ]
  table = Table(columns(*names, numeric=names[1:]), rows, JOBS_NOTE.format(first))
  axis = ('step', 'seeds at target')
  return Overall('Over all seeds', table, made, ticks.tolist(), axis, labels(groups))


def _job(
  group: Group, lowest: Mapping[int, float], first: Mapping[int, float], target: float
) -> Profile:
  values = np.array(list(lowest.values()))
  pairs = [(first[seed], loss) for seed, loss in lowest.items() if seed in first]
  wins = np.array([(loss < other) + (loss == other) / 2 for other, loss in pairs])
  measured = [run.measured for run in group.runs if run.seed in lowest]
  return Profile(
    group.name,
    not any(table['hand_designed'].any() for table in measured),
    float(profiles.iqm(values)),
    _interval(values, profiles.iqm),
    float(wins.mean()) if len(wins) else np.nan,
    _interval(wins, np.mean),
    np.array([_steps(table, target) for table in measured]),
  )


def _interval(values: np.ndarray, statistic: profiles.Statistic) -> tuple[float, float]:
  if len(values) < 2 or not np.isfinite(values).all():  # one seed says nothing about others
    return np.nan, np.nan
  return profiles.stratified([values[:, np.newaxis]], statistic, profiles.SAMPLES, 0)


def _steps(measured: pd.DataFrame, target: float) -> float:
  known = measured[measured['measure'].isin(['eval_loss', measures.JOB])]
  reached = known.loc[known['value'].astype(float) <= target, 'K']
  return float(reached.min()) if len(reached) and np.isfinite(target) else np.inf


def _loss(one: Profile) -> str:
  if not np.isfinite(one.score):
    return 'not finite'
  low, high = one.score_interval
  return f'{one.score:.4g}' + (f' [{low:.4g}, {high:.4g}]' if np.isfinite(low) else '')


def _wins(one: Profile) -> str:
  if np.isnan(one.wins_interval).any():
    return '' if np.isnan(one.wins) else f'{100 * one.wins:.1f} %'
  return profiles.share(one.wins, one.wins_interval)

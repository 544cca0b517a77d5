"""Which optimizer is best over all tasks: interquartile means, paired wins, performance profiles.

python -m reports.profiles ResNet-20=seed0.csv.gz,seed1.csv.gz quickstart=runs/q0,runs/q1 \\
  [--figure=profiles.png]

Each argument is a suite: a name, and finished runs or files of `reports.families --out`. A family
of hand-designed settings counts with one setting at each horizon: the chosen one of a tuned grid,
otherwise the best in hindsight.

Sources: R. Agarwal et al., "Deep RL at the Edge of the Statistical Precipice" (arXiv 2108.13264);
E. Dolan and J. Moré, "Benchmarking Optimization Software with Performance Profiles" (2002).
"""

import argparse
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from l2o import atomic
from l2o.errors import InputError
from reports import families, speedup, tables
from reports.exits import in_one_sentence
from reports.figures import style

SAMPLES = 2_000  # of the bootstrap
POINTS = 200  # of a profile's line
FRACTION = 0.95  # of the best family's accuracy on a task: the target
STRATUM = ['experiment', 'seed']
NOTE = (
  'Score: accuracy over that of the best hand-designed family of the same experiment, seed and K, '
  'interquartile mean over tasks and K. Wins: tasks on which it is above that family. By K: tasks '
  'on which it has 95 % of what that family reaches. Brackets: 95 % bootstrap interval over tasks.'
)
WITHOUT_FAMILIES = (
  'No hand-designed family was measured on all of these tasks: the score is the accuracy itself, '
  'interquartile mean over tasks and K. Wins: tasks on which it is above {0}. By K: tasks on which '
  'it has 95 % of what {0} reaches. Brackets: 95 % bootstrap interval over tasks.'
)
Statistic = Callable[..., np.ndarray]  # (values, axis) -> values without that axis


class Profile(NamedTuple):
  """An optimizer over the tasks of a suite; intervals are 95 % (low, high)."""

  optimizer: str
  learned: bool
  score: float  # interquartile mean of accuracy over that of the best family of the column
  score_interval: tuple[float, float]
  wins: float  # probability of beating the best family on a task, at a random horizon
  wins_interval: tuple[float, float]
  steps: np.ndarray  # [tasks], to the target on each; infinity where it is not reached


def iqm(values: np.ndarray, axis: int = 0) -> np.ndarray:
  """Interquartile mean: of the values between the lowest and the highest quarter.

  Example:
    >>> float(iqm(np.array([0.0, 1.0, 3.0, 100.0])))
    2.0
  """
  return stats.trim_mean(values, 0.25, axis=axis)


def stratified(
  strata: Sequence[np.ndarray], statistic: Statistic, samples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
  """Percentile bootstrap interval, with tasks resampled within each stratum.

  Args:
    strata: each [tasks, horizons]; a task is drawn with all its horizons.
    statistic: a statistic of values [samples, n], along an axis.
    samples: resamples drawn.
    seed: seed of the resampling.
    level: coverage probability of the interval.

  Example:
    >>> stratified([np.array([[2.0], [2.0]]), np.array([[5.0]])], np.mean, samples=100, seed=0)
    (3.0, 3.0)
  """
  rng = np.random.default_rng(seed)
  drawn = [
    values[rng.integers(len(values), size=(samples, len(values)))].reshape(samples, -1)
    for values in strata
  ]
  found = statistic(np.concatenate(drawn, axis=1), axis=1)
  tail = 50 * (1 - level)
  low, high = np.percentile(found, [tail, 100 - tail])
  return float(low), float(high)


def profiles(
  found: pd.DataFrame, samples: int = SAMPLES, reference: str | None = None
) -> list[Profile]:
  """The optimizers that were measured on every task of a suite, best score first.

  A score is the accuracy on a task over the mean accuracy of the best hand-designed family of its
  experiment, seed and horizon; a win is an accuracy above that family's on the same task (a tie
  counts as half). A task's target is 95 % of what the best family of its experiment and seed has on
  it at that family's best horizon; steps to it are interpolated in their logarithm.

  Args:
    found: a table of `reports.records`, in which an optimizer has one name in all seeds.
    samples: bootstrap resamples.
    reference: the optimizer that is the only rival where no hand-designed family was measured;
      scores are then accuracies.

  Raises:
    InputError: neither a hand-designed family nor the reference was measured on every task.
  """
  cells = _accuracy(found)
  hand = cells.columns[cells.columns.isin(found.loc[found['hand_designed'], 'optimizer'])]
  rivals = cells.columns[cells.columns == reference] if hand.empty else hand
  if rivals.empty:
    raise InputError('no hand-designed family was measured in every experiment and seed')
  column = [*STRATUM, 'K']
  means = cells.groupby(column).mean()
  best = means[rivals].idxmax(axis=1).reindex(cells.droplevel('task').index)
  rival = np.take_along_axis(
    cells.to_numpy(), cells.columns.get_indexer(best)[:, np.newaxis], axis=1
  )[:, 0]
  scale = means[rivals].max(axis=1) if len(hand) else pd.Series(1.0, means.index)
  norm = scale.reindex(cells.droplevel('task').index).to_numpy()
  target = _targets(cells[rivals], means[rivals])
  made = []
  for name in cells:
    score = _strata(cells[name] / norm)
    win = _strata((np.sign(cells[name] - rival) + 1) / 2)
    made.append(
      Profile(
        name,
        name not in hand,
        float(iqm(np.concatenate([values.ravel() for values in score]))),
        stratified(score, iqm, samples, 0),
        float(np.mean(np.concatenate([values.ravel() for values in win]))),
        stratified(win, np.mean, samples, 0),
        _steps(cells[name], target),
      )
    )
  return sorted(made, key=lambda profile: -profile.score)


def _accuracy(found: pd.DataFrame) -> pd.DataFrame:
  """[STRATUM, K, task] x optimizers measured in all rows: accuracy of the best setting."""
  accuracy = found[found['measure'] == 'accuracy']
  setting = [*STRATUM, 'K', 'optimizer', 'setting']
  means = accuracy.groupby(setting)['value'].mean()
  best = means.groupby([*STRATUM, 'K', 'optimizer']).idxmax()
  chosen = accuracy.set_index(setting).loc[list(best)].reset_index()
  return chosen.pivot(index=[*STRATUM, 'K', 'task'], columns='optimizer', values='value').dropna(
    axis='columns'
  )


def _strata(values: pd.Series) -> list[np.ndarray]:
  return [of_one.unstack('K').to_numpy() for _, of_one in values.groupby(STRATUM)]


def _targets(cells: pd.DataFrame, means: pd.DataFrame) -> pd.Series:
  """[STRATUM, task]: accuracy to reach. `means`: the means of `cells` over tasks."""
  goals = []
  for _, of_one in means.groupby(STRATUM):
    experiment, seed, K, family = of_one.stack().idxmax()
    goal = cells[family].xs((experiment, seed, K), level=[*STRATUM, 'K'], drop_level=False)
    goals.append(FRACTION * goal.droplevel('K'))
  return pd.concat(goals)


def _steps(accuracy: pd.Series, target: pd.Series) -> np.ndarray:
  curves = accuracy.unstack('K')
  horizons = list(curves.columns)
  goals = target.reindex(curves.index).to_numpy()
  return np.array([
    speedup.steps_to_reach(horizons, list(curve), goal)
    for curve, goal in zip(curves.to_numpy(), goals, strict=True)
  ])  # fmt: skip


def reached(steps: np.ndarray, within: float) -> float:
  """The fraction of tasks whose target is reached within some steps: a point on the profile.

  Example:
    >>> reached(np.array([10.0, 50.0, np.inf]), within=50)
    0.6666666666666666
  """
  return float(np.mean(steps <= within))


def render(suites: Mapping[str, Sequence[Profile]], horizons: Mapping[str, Sequence[int]]) -> str:
  """A Markdown table for each suite; learned optimizers are bold.

  Args:
    suites: name -> the result of `profiles`.
    horizons: name -> the horizons that were measured.
  """
  parts = []
  for suite, of_suite in suites.items():
    marked = [p._replace(optimizer=f'**{p.optimizer}**') if p.learned else p for p in of_suite]
    table = tables.render(cells(marked, horizons[suite]), 'markdown')
    parts.append(f'**{suite}**: {len(of_suite[0].steps)} tasks\n\n{table}')
  return '\n\n'.join(parts)


def cells(of_suite: Sequence[Profile], horizons: Sequence[int]) -> pd.DataFrame:
  """The table of a suite, as strings; `NOTE` explains it."""
  return pd.DataFrame([
    {
      'optimizer': p.optimizer,
      'score (IQM)': share(p.score, p.score_interval),
      'wins': share(p.wins, p.wins_interval),
      **{f'by {K}': f'{100 * reached(p.steps, K):.0f} %' for K in horizons},
    }
    for p in of_suite
  ])  # fmt: skip


def share(mean: float, interval: tuple[float, float]) -> str:
  """A fraction and its interval, formatted in %.

  Example:
    >>> share(0.5, (0.25, 0.625))
    '50.0 [25.0, 62.5] %'
  """
  low, high = interval
  return f'{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}] %'


def figure(
  suites: Mapping[str, Sequence[Profile]],
  horizons: Mapping[str, Sequence[int]],
  axis: tuple[str, str] = ('inner steps K', 'tasks at target'),
) -> Figure:
  """Performance profiles: the fraction of tasks whose target is reached, against inner steps.

  A panel for each suite.

  Args:
    suites: as for `render`.
    horizons: likewise.
    axis: the labels of x and y.
  """
  with style.context():
    made, panels = style.panels(len(suites))
    for axes, (suite, of_suite) in zip(panels, suites.items(), strict=True):
      _profile(axes, of_suite, horizons[suite])
      axes.set(title=suite, xlabel=axis[0])
      axes.set_ylabel(axis[1], labelpad=1)
  return made


def _profile(axes: Axes, of_suite: Sequence[Profile], horizons: Sequence[int]) -> None:
  grid = np.geomspace(horizons[0], horizons[-1], POINTS)
  names = [profile.optimizer for profile in of_suite if not profile.learned]
  lines = style.hand_designed(names, names[: len(style.COLOURS)])
  number, ends = 0, []
  for profile in of_suite:
    line = style.learned(number) if profile.learned else lines[profile.optimizer]
    fractions = [reached(profile.steps, within) for within in grid]
    axes.plot(grid, fractions, label=profile.optimizer, **line)
    if profile.learned or profile.optimizer in names[: len(style.COLOURS)]:
      name = profile.optimizer
      ends.append(style.End(grid[-1], fractions[-1], name, line['color'], bold=profile.learned))
    number += profile.learned
  style.log_steps(axes, horizons)
  axes.set_ylim(0, 1)
  axes.yaxis.set_major_formatter(style.percent())
  style.name_ends(axes, ends)


def gather(paths: Sequence[str], names: Mapping[str, str]) -> pd.DataFrame:
  """The records of a suite, with optimizers renamed so that each has one name in all seeds."""
  found, _ = families.gather([pathlib.Path(path) for path in paths])
  return found.assign(optimizer=found['optimizer'].replace(dict(names)))


def _pair(text: str) -> tuple[str, str]:
  name, sign, value = text.partition('=')
  if not (name and sign and value):
    raise argparse.ArgumentTypeError(f'{text!r} is not NAME=VALUE')
  return name, value


def main() -> None:
  """Prints the tables, and draws the figure if asked to."""
  parser = argparse.ArgumentParser(
    prog='python -m reports.profiles',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    'suites', nargs='+', type=_pair, metavar='NAME=RUN,RUN…', help='a name and its runs or records'
  )
  parser.add_argument(
    '--rename', nargs='+', type=_pair, default=[], metavar='OLD=NEW', help='names of optimizers'
  )
  parser.add_argument('--figure', type=pathlib.Path, help='where to write the figure, a PNG')
  options = parser.parse_args()
  with in_one_sentence():
    found = {name: gather(runs.split(','), dict(options.rename)) for name, runs in options.suites}
    suites = {name: profiles(of_suite) for name, of_suite in found.items()}
    horizons = {name: sorted(of_suite['K'].unique()) for name, of_suite in found.items()}
    if options.figure:
      atomic.replace(options.figure, style.png(figure(suites, horizons)))
  print(render(suites, horizons))


if __name__ == '__main__':
  main()

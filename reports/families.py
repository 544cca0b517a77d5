"""The best setting of every family at every horizon, from runs with large grids.

python -m reports.families runs/adam runs/sgd [--out=records.csv.gz]

Runs of one config and seed that each evaluate one family, or one experiment, are parts of one
evaluation and give one table. `--out` writes their records to one file, which can replace the runs
as an argument.
"""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

import pandas as pd

from l2o import atomic
from reports import records, results, speedup, table, tables
from reports.exits import in_one_sentence
from reports.records import TUNING

KEY = [name for name in records.SCHEMA if name != 'value']
SAMPLES = 10_000  # of the bootstrap, as in the configs


def gather(paths: Sequence[pathlib.Path]) -> tuple[pd.DataFrame, str]:
  """The records of several runs as one table, without the losses of tuning.

  Args:
    paths: folders of finished runs, or files of such records.

  Returns:
    The records, and a sentence on optimizers that runs measured differently, for example on two
    devices: the first run's records count. It is empty if there are none.

  Raises:
    InputError: records are missing or damaged.
  """
  files = [path / records.FILE if path.is_dir() else path for path in paths]
  parts = [records.read(file, 'give folders of finished runs') for file in files]
  found = pd.concat(parts, keys=range(len(parts)), names=['run'])
  found = found[found['measure'] != f'{TUNING}/loss']
  return found.drop_duplicates(KEY).reset_index(drop=True), _apart(found)


def _apart(found: pd.DataFrame) -> str:
  accuracy = found[found['measure'] == 'accuracy']
  cell = [name for name in KEY if name != 'task']
  means = accuracy.groupby([*cell, 'run'])['value'].mean().groupby(cell)
  apart = 100 * (means.max() - means.min())
  if not apart.max() > 0:
    return ''
  names = ', '.join(apart[apart > 0].index.unique('optimizer'))
  return (
    f'Runs differ by up to {apart.max():.1f} points in mean accuracy of {names}; the first counts.'
  )


def render(rows: pd.DataFrame) -> str:
  """A Markdown table for each experiment.

  Learned optimizers have mean ± standard deviation over tasks in %, with the chosen rate of a tuned
  grid, and their paired difference from the best hand-designed setting of the column; a family has
  its best accuracy, with its setting (the chosen one of a tuned grid) and '<' where that is at an
  edge of the family's grid.
  The best family is bold.

  Args:
    rows: from `results.frame`.
  """
  return '\n\n'.join(_experiment(of_one) for _, of_one in rows.groupby('experiment', sort=False))


def _experiment(rows: pd.DataFrame) -> str:
  horizons = sorted(rows['num_steps'].unique())
  lines = []
  for optimizer, of_one in rows[~rows['hand_designed']].groupby('optimizer', sort=False):
    at = of_one.set_index('num_steps').loc[horizons]
    lines += [[optimizer, *map(_learned, at.itertuples())]]
    if at['difference_mean'].notna().all():
      lines += [['difference', *map(table.difference, at.itertuples())]]
  for family, of_one in rows[rows['hand_designed']].groupby('family'):
    best = of_one.loc[of_one.groupby('num_steps')['accuracy_mean'].idxmax()].set_index('num_steps')
    lines += [[family, *(_best(family, row) for row in best.loc[horizons].itertuples())]]
  cells = pd.DataFrame(lines, columns=['optimizer', *(f'K = {steps}' for steps in horizons)])
  first = rows.iloc[0]
  title = f'**Experiment {first["experiment"]}**: {first["source"]}, {first["tasks"]} tasks'
  return f'{title}\n\n{tables.render(cells, "markdown")}'


def _learned(row: Any) -> str:
  accuracy = f'{100 * row.accuracy_mean:.1f} ± {100 * row.accuracy_std:.1f}'
  return accuracy if pd.isna(row.tuned) else f'{accuracy} ({row.tuned}{_edge(row)})'


def _edge(row: Any) -> str:
  return '' if pd.isna(row.at_edge) else '<'


def _best(family: str, row: Any) -> str:
  setting = row.optimizer.removeprefix(family).strip() if pd.isna(row.tuned) else row.tuned
  accuracy = f'{100 * row.accuracy_mean:.1f}'
  shown = f'**{accuracy}**' if row.best_hand_designed else accuracy
  return f'{shown} ({setting}{_edge(row)})' if setting else shown


def report(found: pd.DataFrame) -> str:
  """The tables of every seed, and how much faster each learned optimizer is than the families.

  Each speed-up has its 95 % bootstrap interval over tasks.

  `found` comes from `gather`.
  """
  parts = []
  for seed, of_seed in found.groupby('seed'):
    rows = results.frame(results.summarize(of_seed, SAMPLES, seed))
    parts += [f'Seed {seed}', render(rows)]
    for optimizer in results.learned(rows):
      both = [
        name
        for name, of_one in rows.groupby('experiment', sort=False)
        if of_one['hand_designed'].any() and (of_one['optimizer'] == optimizer).any()
      ]
      lines = [
        speedup.line(
          rows, name, optimizer, speedup.interval(of_seed, rows, name, optimizer, SAMPLES, seed)
        )
        for name in both
      ]
      if both:
        shared = rows[rows['experiment'].isin(both)]
        parts += ['\n'.join(lines), speedup.table(shared, optimizer)]
  return '\n\n'.join(parts)


def main() -> None:
  """Prints the tables, and writes the records if asked to."""
  parser = argparse.ArgumentParser(prog='python -m reports.families', description=__doc__)
  parser.add_argument('runs', nargs='+', type=pathlib.Path, help='folders of finished runs')
  parser.add_argument('--out', type=pathlib.Path, help='where to keep their records in one file')
  options = parser.parse_args()
  with in_one_sentence():
    found, apart = gather(options.runs)
    if options.out:
      atomic.replace(options.out, records.pack(found))
  print(report(found))
  if apart:
    print(f'\n{apart}')


if __name__ == '__main__':
  main()

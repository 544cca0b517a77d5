"""The best setting of every family at every horizon, for runs with large grids.

python -m reports.families runs/a runs/b
"""

import json
import pathlib
import sys
from typing import Any

import pandas as pd

from reports import results, table, tables


def render(rows: pd.DataFrame) -> str:
  """A Markdown table for each experiment.

  Learned optimizers have mean ± standard deviation over tasks in %, and their paired difference to
  the best hand-designed setting of the column; a family shows its best accuracy, with its
  setting (of a tuned grid, the chosen one) and '<' where that is at an edge of the family's grid.
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
  return f'{100 * row.accuracy_mean:.1f} ± {100 * row.accuracy_std:.1f}'


def _best(family: str, row: Any) -> str:
  setting = row.optimizer.removeprefix(family).strip() if pd.isna(row.tuned) else row.tuned
  edge = '' if pd.isna(row.at_edge) else '<'
  accuracy = f'{100 * row.accuracy_mean:.1f}'
  shown = f'**{accuracy}**' if row.best_hand_designed else accuracy
  return f'{shown} ({setting}{edge})' if setting else shown


def main(folders: list[str]) -> None:
  """Prints the tables of finished runs."""
  for folder in folders:
    rows = json.loads((pathlib.Path(folder) / 'results.json').read_text())
    print(render(results.frame(rows)), end='\n\n')


if __name__ == '__main__':
  main(sys.argv[1:])

"""What a table marks: a best setting at the edge of its grid, columns beyond the horizon."""

import numpy as np
import pytest

from reports import results, table
from reports.results import Outcome

GRID = {  # rate -> mean accuracy at K = 10 and 100: inside at 10, at the upper edge at 100
  0.1: (0.4, 0.5),
  0.3: (0.6, 0.6),
  1.0: (0.5, 0.7),
}


def outcome(name, family, steps, accuracy, rate=None):
  values = np.array([accuracy - 0.1, accuracy + 0.1])
  return Outcome('A', 'glyphs', name, family, rate is not None, steps, values, values, rate)


@pytest.fixture
def rows():
  grid = [
    outcome(f'sgd {rate:g}', 'sgd', steps, accuracy, rate)
    for rate, accuracies in GRID.items()
    for steps, accuracy in zip((10, 100), accuracies, strict=True)
  ]
  alone = [outcome('adam 0.1', 'adam', steps, 0.3, 0.1) for steps in (10, 100)]
  ours = [outcome('l3rs', 'l3rs', steps, 0.65) for steps in (10, 100)]
  return results.summarize([*ours, *grid, *alone], samples=10, seed=0)


def test_the_best_of_a_grid_at_its_edge_is_marked_there_alone(rows):
  marked = {(row['optimizer'], row['num_steps']) for row in rows if 'at_edge' in row}
  assert marked == {('sgd 1', 100)}
  lines = table.render(rows).splitlines()
  assert next(line for line in lines if line.startswith('sgd 1 ')).split()[-1] == '10.0*<'
  assert next(line for line in lines if line.startswith('sgd 0.3')).split()[4] == '10.0*'


def test_columns_beyond_the_horizon_of_meta_training_are_marked(rows):
  for row in rows:
    if row['optimizer'] == 'l3rs' and row['num_steps'] == 100:
      row['beyond_horizon'] = True
  head = table.render(rows).splitlines()[1]
  assert head.split() == ['optimizer', 'K', '=', '10', 'K', '=', '100†']

"""What a table marks: a best setting at the edge of its grid, columns beyond the horizon."""

import numpy as np
import pandas as pd
import pytest

from reports import records, results, table

GRID = {  # rate -> mean accuracy at K = 10 and 100: inside at 10, at the upper edge at 100
  0.1: (0.4, 0.5),
  0.3: (0.6, 0.6),
  1.0: (0.5, 0.7),
}


def measured(optimizer, steps, accuracies, rates=('',)):
  """Two tasks, around the mean accuracy of each setting."""
  values = np.add(accuracies, [[-0.1], [0.1]])
  return records.of_tasks(
    {'accuracy': values, 'loss': values}, rates,
    experiment='A', source='glyphs', optimizer=optimizer, hand_designed=rates != ('',), seed=0,
    K=steps,
  )  # fmt: skip


@pytest.fixture
def rows():
  tables = []
  for steps, of_grid in zip((10, 100), zip(*GRID.values(), strict=True), strict=True):
    tables.append(measured('l3rs', steps, [0.65]))
    tables.append(measured('sgd', steps, of_grid, [f'{rate:g}' for rate in GRID]))
    tables.append(measured('adam', steps, [0.3], ['0.1']))
  return results.summarize(pd.concat(tables), samples=10, seed=0)


def test_the_best_of_a_grid_at_its_edge_is_marked_there_alone(rows):
  marked = {(row['optimizer'], row['num_steps']) for row in rows if 'at_edge' in row}
  assert marked == {('sgd 1', 100)}
  lines = table.render(results.frame(rows)).splitlines()
  assert next(line for line in lines if line.startswith('sgd 1 ')).split()[-1] == '10.0*<'
  assert next(line for line in lines if line.startswith('sgd 0.3')).split()[4] == '10.0*'


def test_steps_beyond_the_horizon_of_meta_training_are_marked_at_their_optimizer(rows):
  for row in rows:
    if row['optimizer'] == 'l3rs' and row['num_steps'] == 100:
      row['beyond_horizon'] = True
  _, head, ours, _, *others = table.render(results.frame(rows)).splitlines()
  assert head.split() == ['optimizer', 'K', '=', '10', 'K', '=', '100†']
  assert ours.split() == ['l3rs', '65.0', '±', '10.0', '65.0', '±', '10.0†']
  assert not any('†' in line for line in others[:4])

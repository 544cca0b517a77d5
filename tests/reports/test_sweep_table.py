"""The table of a sweep, on numbers whose answers are known."""

import numpy as np
import pytest

from reports import records, sweep
from tests.pictures import is_drawn
from trainers.harness.folder import Folder

ROWS = [
  sweep.Row('Table 1', 'base', 70.0),
  sweep.Row('Table 1', 'identity=none', 65.0),
  sweep.Row('Table 2', 'gammas=()', None),
  sweep.Row('Table 2', 'sigma=9', None),
  sweep.Row('Table 2', 'identity=none', None),  # the same runs in another table
]
ACCURACY = {  # row -> seed -> tasks
  'base': {4: [0.6, 0.8], 0: [0.5, 0.7]},
  'identity=none': {4: [0.5, 0.6], 0: [0.4, 0.5]},
  'gammas=()': {0: [0.6, 0.9]},
  'sigma=9': {},
}


def measured(accuracy):
  known = {'experiment': 'A', 'source': 'glyphs', 'optimizer': 'l3rs', 'hand_designed': False}
  return records.gather({
    row: [
      records.of_tasks({'accuracy': np.array([values]).T}, [''], seed=seed, K=10, **known)
      for seed, values in seeds.items()
    ]
    for row, seeds in accuracy.items()
  })  # fmt: skip


@pytest.fixture
def summary():
  return sweep.summarize(ROWS, measured(ACCURACY), samples=500, seed=0)


def test_means_and_differences_by_hand(summary):
  base, none, gammas, failed, again = summary
  assert base['accuracy_mean'] == pytest.approx(0.65)
  assert base['of_each_seed'] == pytest.approx([0.7, 0.6])  # in the order of the seeds
  assert 'difference_mean' not in base
  assert none['difference_mean'] == pytest.approx(-np.mean([0.1, 0.2, 0.1, 0.2]))
  assert -0.2 - 1e-9 <= none['difference_low'] < -0.15
  assert -0.15 < none['difference_high'] <= -0.1 + 1e-9
  assert 'difference_mean' not in gammas  # one seed of two: not the same tasks
  assert failed['accuracy_mean'] is None
  assert again == none | {'table': 'Table 2', 'paper': None}


def test_the_table_has_each_row_beside_the_paper(summary):
  text = sweep.render(summary)
  assert '### Table 1\n' in text
  assert '| identity=none | 50.0 [' in text
  assert '| 55.0, 45.0 | -15.0 [' in text
  assert '| 65.0 | -5.0 |' in text
  assert '| sigma=9 | failed |  |  |  |  |' in text


def test_the_figure_shows_ours_beside_the_papers(summary, tmp_path):
  _, drawn = sweep.make(summary)
  axes, other = drawn['sweep'].axes
  assert [axes.get_title('left'), other.get_title('left')] == ['Table 1', 'Table 2']
  paper = next(line for line in axes.lines if line.get_label() == 'paper')
  np.testing.assert_allclose(paper.get_xdata(), [-5.0])
  Folder(tmp_path).write_figures(drawn)
  assert is_drawn(tmp_path / 'figures' / 'sweep.png')


@pytest.mark.parametrize(
  ('changes', 'expected'),
  [
    ({'rule.directions': (['sgd'], ['adam', 'lion'])}, 'rule.directions=adam+lion'),
    ({'rule.gammas': ([0.0], []), 'rule.identity': ('a', 'b')}, 'rule.gammas=(),rule.identity=b'),
    (
      {'rule.directions': (None, [{'name': 'adam', 'b1': 0.5}])},
      'rule.directions=(name=adam,b1=0.5)',
    ),
    ({'estimator.sigma': (0.1, 0.1234567)}, 'estimator.sigma=0.1234567'),
    ({'pretrain.learning_rate': (0.1, 'a/b c')}, 'pretrain.learning_rate=a_b_c'),
  ],
)
def test_a_name_is_a_diff_that_a_folder_can_have(changes, expected):
  name = sweep.name(changes)
  assert name == expected
  assert '/' not in name
  assert ' ' not in name


def test_a_long_name_is_cut_and_stays_its_own():
  names = [sweep.name({'rule': ({}, {'name': 'x' * 300, 'seed': k})}) for k in (0, 1)]
  assert names[0] != names[1]
  assert all(len(name) < 150 for name in names)


def test_runs_of_other_seeds_are_not_paired():
  """Each lost one of two seeds, but not the same one."""
  rows = [sweep.Row('T', 'base', None), sweep.Row('T', 'a=1', None)]
  table = measured({'base': {1: [0.5, 0.7]}, 'a=1': {0: [0.5, 0.7]}})
  assert 'difference_mean' not in sweep.summarize(rows, table, samples=10, seed=0)[1]


def test_a_sweep_whose_rows_all_failed_has_a_table_and_a_figure(tmp_path):
  rows = sweep.summarize([sweep.Row('T', 'a=1', 3.0)], measured({}), samples=10, seed=0)
  text, drawn = sweep.make(rows)
  assert '| a=1 | failed |  |  | 3.0 |  |' in text
  Folder(tmp_path).write_figures(drawn)
  assert is_drawn(tmp_path / 'figures' / 'sweep.png')

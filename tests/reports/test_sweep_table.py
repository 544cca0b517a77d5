"""The table of a sweep, on numbers whose answers are known."""

import numpy as np
import pytest

from reports import sweep
from tests.pictures import is_drawn

ROWS = [
  sweep.Row('Table 1', 'base', 70.0, {0: np.array([0.5, 0.7]), 4: np.array([0.6, 0.8])}),
  sweep.Row('Table 1', 'identity=none', 65.0, {0: np.array([0.4, 0.5]), 4: np.array([0.5, 0.6])}),
  sweep.Row('Table 2', 'gammas=()', None, {0: np.array([0.6, 0.9])}),
  sweep.Row('Table 2', 'sigma=9', None, {}),
]


@pytest.fixture
def summary():
  return sweep.summarize(ROWS, samples=500, seed=0)


def test_means_and_differences_by_hand(summary):
  base, none, gammas, failed = summary
  assert base['accuracy_mean'] == pytest.approx(0.65)
  assert base['of_each_seed'] == pytest.approx([0.6, 0.7])
  assert 'difference_mean' not in base
  assert none['difference_mean'] == pytest.approx(-np.mean([0.1, 0.2, 0.1, 0.2]))
  assert -0.2 - 1e-9 <= none['difference_low'] < -0.15
  assert -0.15 < none['difference_high'] <= -0.1 + 1e-9
  assert 'difference_mean' not in gammas  # one seed of two: not the same tasks
  assert failed['accuracy_mean'] is None


def test_the_table_has_each_row_beside_the_paper(summary):
  text = sweep.render(summary)
  assert '### Table 1\n' in text
  assert '| identity=none | 50.0 [' in text
  assert '| 45.0, 55.0 | -15.0 [' in text
  assert '| 65.0 | -5.0 |' in text
  assert '| sigma=9 | failed |' in text


def test_the_figure_shows_ours_beside_the_papers(summary, tmp_path):
  sweep.write(summary, tmp_path)
  drawn = sweep.figure(summary)
  (axes,) = drawn.axes
  paper = next(line for line in axes.lines if line.get_label() == 'paper')
  np.testing.assert_allclose(paper.get_xdata(), [-5.0])
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
  tasks = np.array([0.5, 0.7])
  rows = [sweep.Row('T', 'base', None, {1: tasks}), sweep.Row('T', 'a=1', None, {0: tasks})]
  assert 'difference_mean' not in sweep.summarize(rows, samples=10, seed=0)[1]

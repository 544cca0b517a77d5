"""The table of training jobs: means over seeds, and what failed."""

import numpy as np
import pytest

from reports import training


def seed(losses, **facts):
  rows = [{'step': 10 * k, 'loss': x} for k, x in enumerate(losses, 1)]
  rows += [{'step': 10 * k, 'eval_loss': x} for k, x in enumerate(losses, 1)]
  rows[len(losses) - 1] |= facts
  return rows


ROWS = [
  training.Runs('adam', [seed([4.0, 1.0, 3.0]), seed([4.0, 2.0, 5.0])], []),
  training.Runs('lgl2o', [seed([4.0, 1.0, 1.0], taken_learned=7)], ['the loss of step 3']),
  training.Runs('lost', [], ['no finite loss']),
]


def test_last_and_lowest_losses_over_seeds():
  adam, guarded, lost = training.summarize(ROWS)
  assert (adam['final_mean'], adam['final_std']) == (4.0, 1.0)
  assert (adam['best_mean'], adam['best_std']) == (1.5, 0.5)
  assert guarded['facts'] == {'taken_learned': 7.0}
  assert lost['final_mean'] is None


def test_the_table_says_what_failed(tmp_path):
  text = training.write(ROWS, tmp_path)
  assert '| adam | 2 | 4 ± 1 | 1.5 ± 0.5 |  |' in text
  assert '| lgl2o | 1 | 1 ± 0 | 1 ± 0 | taken_learned 7 |' in text
  assert 'no finite loss' in text
  assert (tmp_path / 'figures' / 'training.png').exists()
  assert not (tmp_path / 'figures' / 'path.png').exists()


def test_the_figure_draws_a_line_for_each_that_ended():
  figure = training.loss_curves(ROWS)
  (axes,) = figure.axes
  assert [line.get_label() for line in axes.lines] == ['adam', 'lgl2o']
  np.testing.assert_allclose(axes.lines[0].get_ydata(), [4.0, 1.5, 4.0])


def test_paths_begin_where_the_run_began():
  rows = [{'step': k, 'loss': 1.0, 'x_1': 3.0 - k, 'x_2': 0.5 * k} for k in (1, 2, 3)]
  figure = training.paths([training.Runs('adam', [rows], [])])
  path = figure.axes[0].lines[0]
  assert path.get_xydata() == pytest.approx(np.array([[2.0, 0.5], [1.0, 1.0], [0.0, 1.5]]))

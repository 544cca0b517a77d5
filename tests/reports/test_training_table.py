"""The table of training jobs: means over seeds, and what failed."""

import numpy as np
import pytest

from reports import records, training
from reports.figures import style


def seed(losses, **diagnostics):
  rows = [{'step': 10 * k, 'loss': x} for k, x in enumerate(losses, 1)]
  rows += [{'step': 10 * k, 'eval_loss': x} for k, x in enumerate(losses, 1)]
  rows[len(losses) - 1] |= diagnostics
  for k, row in enumerate(rows[: len(losses)]):
    row['effective_learning_rate'] = 0.01 * 2**k
  return sorted(rows, key=lambda row: (row['step'], 'loss' in row))  # the evaluation comes first


def ended(last, loss, mse, test_mse):
  return {
    'final': {'step': 30, 'eval_loss': last},
    'best': {'step': 20, 'loss': loss, 'mse': mse},
    'test': {'loss': 0.5, 'mse': test_mse},
  }


NOTHING = {'final': {'step': 3, 'eval_loss': 1.0}, 'best': None, 'test': None}


def measured(jobs):
  """Label -> of each seed (rows of the log, results) -> the table of a sweep."""
  return records.gather({
    label: [
      records.of_job(*job, optimizer='adam', hand_designed=True, seed=number)
      for number, job in enumerate(seeds)
    ]
    for label, seeds in jobs.items()
  })  # fmt: skip


JOBS = measured({
  'adam': [
    (seed([4.0, 1.0, 3.0]), ended(3.0, 1.0, 9.0, 7.0)),
    (seed([4.0, 2.0, 5.0]), ended(5.0, 2.0, 11.0, 8.0)),
  ],
  'lgl2o': [(seed([4.0, 1.0, 1.0], taken_learned=7), ended(1.0, 1.0, 6.0, 5.0))],
})  # fmt: skip
ROWS = [
  training.Row('adam'),
  training.Row('lgl2o', ['the loss of step 3']),
  training.Row('lost', ['no finite loss']),
]


def test_last_and_lowest_losses_over_seeds():
  adam, guarded, lost = training.summarize(ROWS, JOBS)
  assert adam['final'] == {'mean': 4.0, 'std': 1.0}
  assert adam['best'] == {'mean': 1.5, 'std': 0.5}
  assert adam['measures'] == {
    'mse': {'mean': 10.0, 'std': 1.0},
    'test mse': {'mean': 7.5, 'std': 0.5},
  }
  assert guarded['diagnostics'] == {'taken_learned': 7.0}
  assert lost['final'] is None


def test_the_table_says_what_failed():
  text, drawn, weights = training.make(ROWS, JOBS)
  assert '| adam | 2 | 4 ± 1 | 1.5 ± 0.5 | 10 ± 1 | 7.5 ± 0.5 | 0.02 |  |' in text
  assert '| lgl2o | 1 | 1 ± 0 | 1 ± 0 | 6 ± 0 | 5 ± 0 | 0.02 | taken_learned 7 |' in text
  assert 'no finite loss' in text
  assert weights == ''
  assert list(drawn) == ['training']


def test_a_papers_values_stand_beside_ours():
  rows = [
    training.Row('adam', paper={'loss': 1.25, 'test mse': 0.875}),
    training.Row('lgl2o', paper={'loss': None}),
    training.Row('lost'),
  ]
  text, _, _ = training.make(rows, JOBS)
  assert '| loss, paper | test mse, paper |' in text
  assert '| 10 ± 1 | 7.5 ± 0.5 | 1.25 | 0.875 | 0.02 |' in text
  assert '| 6 ± 0 | 5 ± 0 | not finite |  | 0.02 |' in text
  assert training.summarize(rows, JOBS)[0]['paper'] == {'loss': 1.25, 'test mse': 0.875}
  assert ', paper' not in training.make(ROWS, JOBS)[0]


def test_the_figure_draws_a_line_for_each_that_ended():
  figure = training.curves(['adam', 'lgl2o', 'lost'], JOBS, 'loss', 'training loss')
  (axes,) = figure.axes
  shown = [line.get_label() for line in axes.lines if line.get_label() != '_']
  assert shown == ['adam', 'lgl2o']
  assert [name.get_text() for name in axes.texts] == ['adam', 'lgl2o']
  np.testing.assert_allclose(axes.lines[0].get_ydata(), [4.0, 1.5, 4.0])


def test_learned_optimizers_stand_out_of_the_hand_designed_ones():
  jobs = JOBS.assign(hand_designed=JOBS['row'] != 'lgl2o')
  (axes,) = training.curves(['adam', 'lgl2o'], jobs, 'loss', 'training loss').axes
  adam, lgl2o = axes.lines[:2]
  assert (adam.get_color(), lgl2o.get_color()) == (style.OTHERS, style.LEARNED)
  assert adam.get_linewidth() < lgl2o.get_linewidth()
  assert [name.get_weight() for name in axes.texts] == ['normal', 'bold']


def test_measures_but_multiples_of_the_loss_have_a_figure_on_a_linear_axis():
  rows = [{'step': 1, 'loss': 1.0, 'eval_loss': 1.0, 'eval_psnr': 20.0, 'eval_mse': 4.0}]
  best = {'step': 1, 'loss': 1.0, 'psnr': 20.0, 'mse': 4.0}
  tested = {'final': {'step': 1, 'eval_loss': 1.0}, 'best': best, 'test': {'loss': 3.0}}
  labels = [str(k) for k in range(9)]
  jobs = measured({label: [(rows, tested)] for label in labels})
  text, drawn, _ = training.make([training.Row(label) for label in labels], jobs)
  assert '| 20 ± 0 | 3 ± 0 |' in text  # psnr, and the test's loss
  assert sorted(drawn) == ['psnr', 'training']
  (axes,) = training.curves(labels, jobs, 'eval_psnr', 'PSNR in dB', log=False).axes
  assert (axes.get_yscale(), axes.get_ylabel()) == ('linear', 'PSNR in dB')
  looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
  assert len(looks) == 9  # more rows than colours


def test_paths_begin_where_the_run_began():
  rows = [{'step': k, 'loss': 1.0, 'x_1': 3.0 - k, 'x_2': 0.5 * k} for k in (1, 2, 3)]
  other = [row | {'x_1': 9.0} for row in rows]
  figure = training.paths(measured({'adam': [(rows, NOTHING), (other, NOTHING)]}))
  path = figure.axes[0].lines[0]
  assert path.get_xydata() == pytest.approx(np.array([[2.0, 0.5], [1.0, 1.0], [0.0, 1.5]]))


def test_hub_s_weights_are_told_layer_by_layer():
  """Lowest and highest over entries, steps and seeds; mean over steps and seeds."""

  def of(low, mean, high):
    named = {'min': low, 'mean': mean, 'max': high}
    return {f'weight_{name}/head/bias': x for name, x in named.items()}

  def logged(*rows):
    return [{'step': k, 'loss': 1.0} | row for k, row in enumerate(rows)]

  seeds = [
    logged(of(0.1, 0.2, 0.3), of(0.05, 0.4, 0.5)),
    logged(of(0.2, 0.2, 0.2), of(0.1, 0.4, 0.9)),
  ]
  text = training.hub_weights(measured({'hub': [(rows, NOTHING) for rows in seeds]}))
  assert '| hub | head/bias | 0.05 | 0.3 | 0.9 |' in text
  assert training.hub_weights(JOBS) == ''


def test_a_loss_that_was_not_finite_leaves_a_gap_in_the_line():
  jobs = measured({
    'adam': [(seed([4.0, float('nan'), 2.0]), NOTHING), (seed([2.0, 3.0, 4.0]), NOTHING)],
  })  # fmt: skip
  (axes,) = training.curves(['adam'], jobs, 'loss', 'training loss').axes
  np.testing.assert_array_equal(axes.lines[0].get_ydata(), [3.0, np.nan, 3.0])


def test_a_seed_whose_log_is_cut_is_left_out_of_the_line_alone():
  cut = seed([9.0, 9.0, 9.0])[2:]
  jobs = measured({'adam': [(seed([4.0, 1.0, 3.0]), NOTHING), (cut, NOTHING)]})
  (axes,) = training.curves(['adam'], jobs, 'loss', 'training loss').axes
  np.testing.assert_array_equal(axes.lines[0].get_ydata(), [4.0, 1.0, 3.0])
  assert training.summarize([training.Row('adam')], jobs)[0]['seeds'] == 2


def test_a_lowest_loss_that_one_seed_lacks_is_not_finite():
  losses = seed([4.0, 1.0, 3.0])
  jobs = measured({'adam': [(losses, ended(3.0, 1.0, 9.0, 7.0)), (losses, NOTHING)]})
  (row,) = training.summarize([training.Row('adam')], jobs)
  assert row['final'] == {'mean': 2.0, 'std': 1.0}
  assert row['best'] is None
  assert row['measures']['mse'] == {'mean': 9.0, 'std': 0.0}  # of the seeds that have it

"""All tasks, all seeds: interquartile means, wins and profiles; curves and mixtures beside."""

import json

import numpy as np
import pytest

from reports import compare, records
from reports.compare import overall
from reports.figures import style
from tests.reports import made_run
from tests.reports.test_compare import FIRST, SECOND, columns, pipeline

ADAM = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 0.5}


def jobs(folder, *lowest, rule=None):
  """Jobs of one config, whose evaluation losses are lowest at their second step."""
  return [
    made_run.job(folder / f'seed_{s}', rule=rule, losses=(9 + x, x - 0.25, 8 + x), seed=s)
    for s, x in enumerate(lowest)
  ]


@pytest.fixture
def two(tmp_path):
  first = jobs(tmp_path / 'first', 4.0, 1.0, 2.0, 3.0, 40.0, 2.5, 3.5, 0.5)
  return first, jobs(tmp_path / 'second', 3.0, 1.0, 1.5, rule=ADAM)


def cells(found, name):
  [row] = [row.cells for row in found.table.rows if str(row.cells[0]).endswith(name)]
  return dict(zip(columns(found.table), row, strict=True))


def of(paths):
  return overall.of(compare.gather(paths).groups)


def drawn(document, title):
  """The figures of a section, and the captions under them."""
  [section] = [section for section in document.sections if section.title == title]
  return [block.figures for block in section.blocks], [block.caption for block in section.blocks]


def lines(axes):
  return {line.get_label(): line for line in axes.lines if not line.get_label().startswith('_')}


def test_of_jobs_it_is_the_interquartile_mean_of_the_lowest_losses(two):
  first, second = two
  found = of([*first, *second])
  mean, _, interval = cells(found, 'first')['lowest loss (IQM)'].partition(' ')
  assert float(mean) == np.mean([2.0, 2.5, 3.0, 3.5])  # neither 0.5 and 1 nor 4 and 40
  low, high = json.loads(interval)
  assert 0.5 < low < 2.75 < high < 40
  assert cells(found, 'second')['lowest loss (IQM)'].startswith('1.833 [1')  # of three: the mean
  # the same seeds: lower, equal, lower
  assert cells(found, 'second')['wins'].startswith('83.3 [50.0, 100.0]')
  assert cells(found, 'first')['seeds'] == '8'
  assert [row.cells[0].rpartition('/')[2] for row in found.table.rows] == ['second', 'first']


def test_the_profile_of_jobs_is_the_share_of_seeds_down_to_the_first_ones_loss(two):
  first, second = two
  found = of([*first, *second])
  steps = {one.optimizer.rpartition('/')[2]: one.steps for one in found.profiles}
  np.testing.assert_array_equal(steps['second'], [np.inf, 2, 2])  # down to 2.75 at the second step
  assert np.isfinite(steps['first']).sum() == 4
  alone = of([first[0], *second[:1]]).profiles[0]
  np.testing.assert_array_equal(alone.steps, [2])  # its own loss is reached
  [axes] = found.figure().axes
  assert axes.get_ylabel() == 'seeds at target'
  assert list(lines(axes)) == ['first', 'second']
  np.testing.assert_allclose(lines(axes)['second'].get_ydata()[[0, -1]], [0, 2 / 3])


def test_a_seed_without_a_finite_loss_counts_as_infinite(tmp_path):
  first = jobs(tmp_path / 'first', 4.0, np.nan, 1.0, 2.0)
  found = of([*first, *jobs(tmp_path / 'second', np.nan, rule=ADAM)])
  assert cells(found, 'first')['lowest loss (IQM)'] == '3'  # of 1, 2, 4 and infinity
  shown = cells(found, 'seed_0')
  assert (shown['lowest loss (IQM)'], shown['wins']) == ('not finite', '0.0 %')


def without_rivals(folder, accuracy, **changes):
  made = pipeline(folder, accuracy, **changes)
  found = records.read(made / records.FILE, '')
  (made / records.FILE).write_bytes(records.pack(found[~found['hand_designed']]))
  return made


def test_without_rivals_the_score_is_the_accuracy_and_the_first_run_the_rival(tmp_path):
  first = without_rivals(tmp_path / 'a', FIRST)
  found = of([first, without_rivals(tmp_path / 'b', SECOND, estimator={'sigma': 0.5})])
  # the accuracies are 0.2, 0.7, 0.7, 0.4, 0.9, 0.9 of which the middle four count
  assert cells(found, '/b')['score (IQM)'].startswith(f'{100 * (0.4 + 0.7 + 0.7 + 0.9) / 4:.1f} [')
  assert cells(found, '/b')['wins'].startswith('50.0 [')  # lower, higher, equal
  assert cells(found, '/b')['by 40'] == '67 %'  # 0.9 of 0.7 and of 0.9
  assert cells(found, '/a')['by 40'] == '100 %'
  assert found.table.note.startswith(
    'No hand-designed family was measured on all of these tasks: the s'
  )
  assert f'it is above {first}.' in found.table.note


def test_only_seeds_that_all_have_are_counted_and_rivals_of_any_run(tmp_path):
  runs = [
    without_rivals(tmp_path / 'a', FIRST),
    pipeline(tmp_path / 'a1', FIRST / 2, seed=1),
    pipeline(tmp_path / 'b', SECOND, estimator={'sigma': 0.5}),
  ]
  found = of(runs)
  assert found.table.note.startswith('Score: accuracy over that of the best hand-designed')
  assert {len(one.steps) for one in found.profiles} == {3}
  assert [one.optimizer for one in found.profiles if not one.learned] == ['sgd']
  assert len(found.table.rows) == 2
  runs.append(pipeline(tmp_path / 'c1', SECOND, seed=1, estimator={'sigma': 0.25}))
  assert of(runs) is None  # the first has both seeds, each of the others has one of them


def test_the_text_has_the_interquartile_means_too(two, tmp_path):
  first, second = two
  said = compare.text(compare.gather([*first, *second]))
  assert 'lowest loss (IQM)' in said
  assert '2.75 [' in said
  said = compare.text(
    compare.gather(
      [
        pipeline(tmp_path / 'a', FIRST),
        pipeline(tmp_path / 'b', SECOND, estimator={'sigma': 0.5}),
      ]
    )
  )
  assert 'score (IQM)' in said
  assert 'Score: accuracy over that of the best hand-designed family' in said


def test_curves_are_means_over_seeds_with_a_band(tmp_path):
  losses = (4.0, 3.0, 2.0), (6.0, 4.0, 7.0)
  rates = (0.5, 0.25, 0.125), (0.25, 0.125, 0.0625)
  paths = [
    made_run.job(
      tmp_path / 'first' / f'seed_{s}',
      seed=s, losses=losses[s], effective_learning_rate=rates[s], ended=not s,
    )
    for s in (0, 1)
  ]  # fmt: skip
  other = made_run.job(tmp_path / 'other', rule=ADAM)  # without a rate
  document = compare.document(compare.gather([*paths, other]))
  [figures], [caption] = drawn(document, 'Learning curves')
  found = {figure.axes[0].get_ylabel(): figure.axes[0] for figure in figures}
  assert list(found) == ['loss', 'loss in the evaluation', 'effective learning rate']
  rate, loss = lines(found['effective learning rate']), lines(found['loss'])
  assert list(rate) == ['first']
  np.testing.assert_allclose(rate['first'].get_xydata(), [[1, 0.375], [2, 0.1875], [3, 0.09375]])
  assert found['effective learning rate'].get_yscale() == 'log'
  np.testing.assert_allclose(loss['first'].get_ydata(), [5, 3.5, 4.5])
  band = found['loss'].collections[0].get_paths()[0].vertices
  assert {(1, 4), (1, 6), (2, 3), (2, 4), (3, 2), (3, 7)} <= {(x, y) for x, y in band}
  assert (
    loss['other'].get_color() == style.LEARNED
  )  # as in sweeps: the one that is not hand-designed
  assert loss['first'].get_color() == style.OTHERS
  assert 'mean over the seeds of a row; bands: from the lowest to the highest' in caption


def test_mixtures_stand_beside_each_other(tmp_path):
  shares = {'a': 0.25, 'b': 0.75}
  runs = [pipeline(tmp_path / name, FIRST, estimator={'sigma': x}) for name, x in shares.items()]
  for run, share in zip(runs, shares.values(), strict=True):
    (run / 'meta_evaluate').mkdir()
    mu = share * np.linspace(0.5, 1, 2 * 3 * 2).reshape(2, 3, 2)  # [tasks, K, layers]
    trace = {'mu/sgd': mu, 'mu/adam': 1 - mu, 'lambda': mu / 10, 'layers': np.array(['w', 'v'])}
    np.savez(run / 'meta_evaluate' / 'trace.npz', **trace)
  untraced = pipeline(tmp_path / 'c', FIRST, estimator={'sigma': 0.125})
  document = compare.document(compare.gather([*runs, untraced]))
  figures, captions = drawn(document, 'Mixture and step norm by layer')
  assert captions == [f'{run}, seed 0' for run in runs]
  for [figure], share in zip(figures, shares.values(), strict=True):
    of_sgd = lines(figure.axes[0])['sgd'].get_ydata()
    np.testing.assert_allclose(of_sgd[0], share * (0.5 + 0.5 * 3.5 / 11))  # of 0, 1, 6 and 7


def test_without_traces_there_is_no_section_of_mixtures(tmp_path):
  document = compare.document(compare.gather([pipeline(tmp_path / 'a', FIRST)]))
  assert [section.title for section in document.sections] == ['Learning curves']


def test_at_a_single_horizon_there_is_no_profile_to_draw(tmp_path):
  runs = [
    pipeline(tmp_path / 'a', FIRST),
    pipeline(tmp_path / 'b', SECOND, estimator={'sigma': 0.5}),
  ]
  for run in runs:
    found = records.read(run / records.FILE, '')
    (run / records.FILE).write_bytes(records.pack(found[found['K'] == 40]))
  document = compare.document(compare.gather(runs))
  [section] = [section for section in document.sections if section.title == 'Over all tasks']
  assert [block.kind for block in section.blocks] == ['table']

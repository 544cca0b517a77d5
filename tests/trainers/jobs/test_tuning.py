"""Settings chosen on tasks that are not evaluated."""

import json

import numpy as np
import pandas as pd
import pytest

from reports import records
from tests.tiny_run import SGD, execute, tiny
from trainers.harness.folder import RECORDS

RATES = (1.0, 0.3, 0.03)


def run(folder, **more):
  rates = {'meta_evaluate.baselines.sgd_constant.learning_rates': RATES}
  execute(tiny(rule=SGD, **rates, **more), folder, drawn=False)
  results = json.loads((folder / 'results.json').read_text())
  return records.read(folder / RECORDS, ''), results


def means(table, measure, optimizer='sgd_constant'):
  """(K, setting) -> mean over tasks."""
  chosen = table[(table['measure'] == measure) & (table['optimizer'] == optimizer)]
  return chosen.groupby(['K', 'setting'])['value'].mean()


@pytest.fixture(scope='module')
def hindsight(tmp_path_factory):
  return run(tmp_path_factory.mktemp('runs') / 'hindsight')


@pytest.fixture(scope='module')
def tuned(tmp_path_factory):
  return run(tmp_path_factory.mktemp('runs') / 'tuned', **{'meta_evaluate.tuning_tasks': 5})


def test_the_setting_that_is_best_on_the_tuning_tasks_is_evaluated_alone(hindsight, tuned):
  tried, found = means(tuned[0], 'tuning/accuracy'), means(tuned[0], 'accuracy')
  assert len(tried) == 2 * len(RATES)
  for steps, of_one in tried.groupby(level='K'):
    (chosen,) = found[steps].index
    assert of_one[steps, chosen] == of_one.max()  # there may be several
  # The evaluated tasks are those of a run without tuning, and so is what is measured on them.
  untuned = means(hindsight[0], 'accuracy')
  for cell, accuracy in found.items():
    assert accuracy == pytest.approx(untuned[cell], abs=0.02)


def test_tuning_tasks_are_others_and_their_number_is_the_configs(hindsight, tuned):
  table = tuned[0]
  tasks = table[table['measure'] == 'tuning/loss']
  assert sorted(set(tasks['task'])) == [0, 1, 2, 3, 4]
  setting = tasks.query("K == 5 and setting == '0.3'")['value'].to_numpy()
  evaluated = hindsight[0].query("K == 5 and setting == '0.3' and measure == 'loss'")['value']
  assert not np.isin(evaluated.to_numpy(), setting).any()


def test_some_horizons_are_evaluated_on_the_tasks_of_all(tuned, tmp_path):
  some = {'num_steps': (2,), 'draw_steps': 5, 'tuning_tasks': 5}
  some = {f'meta_evaluate.{key}': value for key, value in some.items()}
  table, _ = run(tmp_path / 'some', **some)
  whole = tuned[0][tuned[0]['K'] == 2].reset_index(drop=True)
  pd.testing.assert_frame_equal(table.reset_index(drop=True), whole)


@pytest.mark.slow
def test_the_host_feeds_tuning_tasks_as_it_does_the_others(tuned, tmp_path):
  fed, _ = run(tmp_path / 'fed', **{'meta_evaluate.tuning_tasks': 5, 'feed.chunk_steps': 2})
  for measure in ('tuning/loss', 'loss'):
    np.testing.assert_allclose(means(fed, measure), means(tuned[0], measure), rtol=1e-4)


def test_the_learned_optimizer_is_measured_as_without_tuning(hindsight, tuned):
  for measure in ('accuracy', 'loss'):
    with_tuning, without = (means(x[0], measure, 'hand_designed') for x in (tuned, hindsight))
    np.testing.assert_array_equal(with_tuning, without)


def test_the_results_name_the_chosen_setting_and_mark_edges_of_the_tuning_grid(tuned):
  table, rows = tuned
  found = means(table, 'accuracy')
  ours = [row for row in rows if row['family'] == 'sgd_constant']
  assert [row['optimizer'] for row in ours] == ['sgd_constant'] * 2
  for row in ours:
    (chosen,) = found[row['num_steps']].index
    assert row['tuned'] == chosen
    assert row.get('at_edge', False) == (chosen in ('1', '0.03'))
  assert not any('tuned' in row for row in rows if not row['hand_designed'])


def test_a_learned_optimizer_is_tuned_as_a_hand_designed_one(tmp_path):
  celo2 = {'rule': {'name': 'celo2'}, 'learning_rates': (3e-2, 1e-6)}
  more = {'baselines.celo2': celo2, 'tuning_tasks': 5, 'num_steps': (5,)}
  table, rows = run(tmp_path / 'celo2', **{f'meta_evaluate.{k}': v for k, v in more.items()})
  tried, found = (means(table, name, 'celo2') for name in ('tuning/accuracy', 'accuracy'))
  assert tried[5, '0.03'] > tried[5, '1e-06']
  assert found.index.tolist() == [(5, '0.03')]
  (row,) = (row for row in rows if row['family'] == 'celo2')
  assert (row['tuned'], row['at_edge'], row['hand_designed']) == ('0.03', True, False)

import numpy as np
import pandas as pd
import pytest

from l2o.errors import InputError
from reports import profiles, records


def table(accuracy, optimizer, hand_designed, K, setting='', seed=0, experiment='A'):
  """Records of one optimizer on tasks with these accuracies."""
  values = np.array(accuracy, np.float32)[:, np.newaxis]
  return records.of_tasks(
    {'accuracy': values, 'loss': 1 - values},
    [setting],
    experiment=experiment,
    source='glyphs',
    optimizer=optimizer,
    hand_designed=hand_designed,
    seed=seed,
    K=K,
  )


@pytest.fixture
def found():
  return pd.concat([
    table([0.2, 0.4], 'adam', True, 10, '0.1'),  # the better setting at 10 steps: mean 0.3
    table([0.1, 0.3], 'adam', True, 10, '0.01'),
    table([0.3, 0.3], 'adam', True, 40, '0.1'),
    table([0.5, 0.9], 'adam', True, 40, '0.01'),  # at 40: mean 0.7
    table([0.1, 0.1], 'sgd', True, 10),
    table([0.8, 0.2], 'sgd', True, 40),
    table([0.6, 0.4], 'l3rs', False, 10),
    table([0.9, 0.5], 'l3rs', False, 40),
  ])  # fmt: skip


def named(found):
  return {profile.optimizer: profile for profile in profiles.profiles(found)}


def test_a_score_is_the_accuracy_over_the_best_familys_at_each_horizon(found):
  l3rs = named(found)['l3rs']
  # over 0.3 at 10 steps and 0.7 at 40: 2, 4/3, 9/7, 5/7; the middle two count
  np.testing.assert_allclose(l3rs.score, (4 / 3 + 9 / 7) / 2, rtol=1e-6)
  assert l3rs.score_interval[0] < l3rs.score < l3rs.score_interval[1]
  assert l3rs.learned


def test_a_tie_is_half_a_win(found):
  # against adam's (0.2, 0.4) and (0.5, 0.9): better, equal, better, worse
  np.testing.assert_allclose(named(found)['l3rs'].wins, 2.5 / 4)
  np.testing.assert_allclose(named(found)['adam'].wins, 0.5)
  np.testing.assert_allclose(named(found)['sgd'].wins, 1 / 4)


def test_targets_are_those_of_the_best_family_at_its_best_horizon(found):
  # 95 % of 0.5 and 0.9
  l3rs, adam = named(found)['l3rs'], named(found)['adam']
  np.testing.assert_array_equal(l3rs.steps, [10, np.inf])
  fraction = np.array([(0.475 - 0.2) / 0.3, (0.855 - 0.4) / 0.5])
  np.testing.assert_allclose(adam.steps, 10 * 4**fraction, rtol=1e-5)


def test_optimizers_come_in_the_order_of_their_scores(found):
  assert [profile.optimizer for profile in profiles.profiles(found)] == ['l3rs', 'adam', 'sgd']


def test_only_what_was_measured_in_every_experiment_and_seed_is_compared(found):
  more = pd.concat([
    found,
    table([0.2, 0.2], 'adam', True, 10, seed=1),
    table([0.2, 0.2], 'adam', True, 40, seed=1),
    table([0.4, 0.4], 'l3rs', False, 10, seed=1),
    table([0.4, 0.4], 'l3rs', False, 40, seed=1),
  ])  # fmt: skip
  assert set(named(more)) == {'adam', 'l3rs'}
  assert len(named(more)['l3rs'].steps) == 4


def test_without_a_common_family_nothing_is_compared(found):
  other = table([0.5, 0.5], 'l3rs', False, 10, seed=1)
  with pytest.raises(InputError, match='no hand-designed family was measured in every experiment'):
    profiles.profiles(pd.concat([found, other]))


def test_tasks_are_drawn_within_their_stratum():
  low, high = np.zeros((50, 2)), np.ones((50, 2))
  assert profiles.stratified([low, high], np.mean, samples=200, seed=0) == (0.5, 0.5)
  first, last = profiles.stratified([np.concatenate([low, high])], np.mean, samples=200, seed=0)
  assert first < 0.45
  assert last > 0.55


def test_a_task_is_drawn_with_all_its_horizons():
  # each task has mean 0.5; drawing horizons alone would not
  assert profiles.stratified([np.array([[0.0, 1.0]] * 20)], np.mean, 200, seed=0) == (0.5, 0.5)


def test_the_command_joins_runs_renames_optimizers_and_draws(found, tmp_path, capsys, monkeypatch):
  other = found.assign(seed=1, optimizer=found['optimizer'].replace({'l3rs': 'l3rs-other'}))
  for number, rows in enumerate((found, other)):
    (tmp_path / f'{number}.gz').write_bytes(records.pack(rows))
  suite = f'Glyphs={tmp_path}/0.gz,{tmp_path}/1.gz'
  figure = tmp_path / 'profiles.png'
  rename = ['--rename', 'l3rs-other=l3rs']
  monkeypatch.setattr('sys.argv', ['profiles', suite, *rename, f'--figure={figure}'])
  profiles.main()
  printed = capsys.readouterr().out
  assert '**Glyphs**: 4 tasks' in printed
  assert '| **l3rs** | 131.0 [' in printed
  assert '62.5 [' in printed
  assert '| 50 % | 50 % |' in printed  # by 10 and by 40 steps
  assert figure.read_bytes().startswith(b'\x89PNG')


def test_a_panel_shows_the_fraction_of_tasks_at_target_against_steps(found):
  axes, *_ = profiles.figure({'Glyphs': profiles.profiles(found)}, {'Glyphs': [10, 40]}).axes
  lines = {line.get_label(): line.get_xydata() for line in axes.lines}
  np.testing.assert_allclose(lines['l3rs'][[0, -1]], [[10, 0.5], [40, 0.5]])
  np.testing.assert_allclose(lines['adam'][[0, -1]], [[10, 0.0], [40, 1.0]])

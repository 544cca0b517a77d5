"""Rows, table, interval, speed-up and figures, on numbers whose answers are known."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from reports import bootstrap, families, figures, records, results, speedup, table
from tests.pictures import is_drawn

ACCURACY = {  # optimizer -> horizon -> four tasks
  'l3rs': {10: [0.5, 0.7, 0.6, 0.8], 100: [0.9, 0.8, 0.9, 0.8]},
  'adam 0.1': {10: [0.4, 0.6, 0.5, 0.5], 100: [0.7, 0.7, 0.9, 0.7]},
  'sgd 0.1': {10: [0.6, 0.3, 0.5, 0.4], 100: [0.9, 0.8, 0.7, 0.9]},
}


def measured():
  tables = []
  for name, row in ACCURACY.items():
    optimizer, _, setting = name.partition(' ')
    loss = [1.0, np.nan, 1.0, 1.0] if optimizer == 'adam' else np.ones(4)
    for steps, values in row.items():
      tables.append(
        records.of_tasks(
          {'accuracy': np.array([values]).T, 'loss': np.array([loss]).T}, [setting],
          experiment='A', source='glyphs', optimizer=optimizer, hand_designed=optimizer != 'l3rs',
          seed=0, K=steps,
        )
      )  # fmt: skip
  return pd.concat(tables, ignore_index=True)


@pytest.fixture
def summary():
  return results.summarize(measured(), samples=2000, seed=0)


@pytest.fixture
def rows(summary):
  return results.frame(summary)


def row_of(rows, optimizer, steps):
  return next(r for r in rows if (r['optimizer'], r['num_steps']) == (optimizer, steps))


def test_the_best_hand_designed_row_is_chosen_per_column(summary):
  best = {(r['num_steps'], r['optimizer']) for r in summary if r['best_hand_designed']}
  assert best == {(10, 'adam 0.1'), (100, 'sgd 0.1')}


def test_means_and_paired_differences_by_hand(summary):
  ours = row_of(summary, 'l3rs', 10)
  np.testing.assert_allclose(ours['accuracy_mean'], 0.65)
  np.testing.assert_allclose(ours['accuracy_std'], np.std(np.float32([0.5, 0.7, 0.6, 0.8])))
  np.testing.assert_allclose(ours['difference_mean'], np.mean([0.1, 0.1, 0.1, 0.3]))
  least, _, _, most = np.sort(np.float32([0.5, 0.7, 0.6, 0.8]) - np.float32([0.4, 0.6, 0.5, 0.5]))
  assert least - 1e-9 <= ours['difference_low'] < 0.15 < ours['difference_high'] <= most + 1e-9
  best = row_of(summary, 'adam 0.1', 10)
  assert best['difference_low'] == best['difference_high'] == 0.0


def test_a_mean_that_is_not_finite_is_none(summary):
  assert row_of(summary, 'adam 0.1', 10)['loss_mean'] is None
  assert row_of(summary, 'l3rs', 10)['loss_mean'] == 1.0


def test_the_interval_is_that_of_a_normal_mean(rng):
  values = rng.normal(2.0, 3.0, 400)
  low, high = bootstrap.interval(values, samples=20_000, seed=1)
  half = 1.96 * values.std() / 20
  np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=0.03)
  assert bootstrap.interval(values, 500, seed=1) == bootstrap.interval(values, 500, seed=1)


def test_records_from_a_file_give_the_same_rows(summary, tmp_path):
  (tmp_path / 'records.csv.gz').write_bytes(records.pack(measured()))
  again = records.read(tmp_path / 'records.csv.gz', 'delete it')
  assert results.summarize(again, samples=2000, seed=0) == summary


def test_steps_are_interpolated_in_their_logarithm():
  steps, accuracy = [10, 100, 1000], [0.2, 0.4, 0.3]
  np.testing.assert_allclose(speedup.steps_to_reach(steps, accuracy, 0.3), 10**1.5)
  assert speedup.steps_to_reach(steps, accuracy, 0.1) == 10
  assert speedup.steps_to_reach(steps, accuracy, 0.4) == pytest.approx(100)
  assert math.isinf(speedup.steps_to_reach(steps, accuracy, 0.41))


def test_the_speed_up_line_by_hand(rows):
  # sgd has 82.5 % at 100; l3rs goes from 65 % at 10 to 85 % at 100: 10 ** (1 + 17.5 / 20) = 75.
  said = speedup.line(rows, 'A', 'l3rs')
  assert 'sgd 0.1 has the best hand-designed accuracy, 82.5 % after 100 steps' in said
  assert said.endswith('l3rs reaches it after about 75 (interpolated): 1.3x')


def speeds(values):
  """Records of l3rs and sgd: (optimizer, K) -> accuracies [tasks]; and their rows."""
  table = pd.concat(
    records.of_tasks(
      {'accuracy': accuracy[:, np.newaxis], 'loss': np.ones((30, 1))}, [''], experiment='A',
      source='x', optimizer=name, hand_designed=name == 'sgd', seed=0, K=steps,
    )
    for (name, steps), accuracy in values.items()
  )  # fmt: skip
  return table, results.frame(results.summarize(table, 10, 0))


def test_the_interval_of_the_speed_up_resamples_the_tasks_of_both(rng):
  noise = rng.normal(0, 0.1, 30)
  ours = {('l3rs', 10): 0.6 + noise, ('l3rs', 100): 0.9 + noise}
  table, rows = speeds(ours | {('sgd', 100): np.full(30, 0.75)})
  low, high = speedup.interval(table, rows, 'A', 'l3rs', samples=4000, seed=1)
  means = np.array([rng.choice(noise, 30).mean() for _ in range(4000)])
  ratios = 100 / 10 ** (1 + (0.15 - means) / 0.3)
  np.testing.assert_allclose([low, high], np.percentile(ratios, [2.5, 97.5]), rtol=0.03)
  assert speedup.line(rows, 'A', 'l3rs', (0.0, high)).endswith(f'x [never, {high:.1f}x]')
  table, rows = speeds(ours | {('sgd', 100): 0.75 + noise})  # hard tasks are hard for both
  ends = speedup.interval(table, rows, 'A', 'l3rs', samples=100, seed=1)
  np.testing.assert_allclose(ends, speedup.over(rows, 'A', 'l3rs', 'sgd'), rtol=1e-3)


def test_a_learned_optimizer_that_never_gets_there_is_said_to_not(rows):
  rows.loc[rows['optimizer'] == 'l3rs', 'accuracy_mean'] = 0.1
  assert speedup.line(rows, 'A', 'l3rs').endswith('l3rs does not reach it')


def test_the_table_shows_every_number_where_it_belongs(rows):
  lines = table.render(rows).splitlines()
  assert lines[0] == 'Experiment A: glyphs, 4 tasks, accuracy in %'
  assert lines[1].split() == ['optimizer', 'K', '=', '10', 'K', '=', '100']
  assert lines[2].split() == ['l3rs', '65.0', '±', '11.2', '85.0', '±', '5.0']
  assert lines[3].split()[:2] == ['difference', '+15.0']
  assert lines[4].split() == ['adam', '0.1', '50.0', '±', '7.1*', '75.0', '±', '8.7']
  assert lines[5].split() == ['sgd', '0.1', '45.0', '±', '11.2', '82.5', '±', '8.3*']


def test_each_family_is_shown_at_its_best_with_the_setting_it_took():
  worse = measured().replace({'setting': {'0.1': '0.01'}})
  worse.loc[worse['hand_designed'], 'value'] -= 0.1
  both = pd.concat([measured(), worse[worse['hand_designed']]])
  text = families.render(results.frame(results.summarize(both, samples=100, seed=0)))
  title, _, head, _, ours, difference, adam, sgd = text.splitlines()
  assert title == '**Experiment A**: glyphs, 4 tasks'
  assert head == '| optimizer | K = 10 | K = 100 |'
  assert ours == '| l3rs | 65.0 ± 11.2 | 85.0 ± 5.0 |'
  assert difference.startswith('| difference | +15.0 [')
  assert adam == '| adam | **50.0** (0.1<) | 75.0 (0.1<) |'
  assert sgd == '| sgd | 45.0 (0.1<) | **82.5** (0.1<) |'


def test_envelopes_are_of_one_family_or_of_all(rows):
  assert results.envelope(rows, 'A', 'adam').to_dict() == pytest.approx({10: 0.5, 100: 0.75})
  assert results.envelope(rows, 'A').to_dict() == pytest.approx({10: 0.5, 100: 0.825})
  assert results.learned(rows) == ['l3rs']


def test_a_family_does_not_take_in_one_whose_name_is_longer(rows):
  longer = rows[rows['family'] == 'adam'].assign(family='adam head', accuracy_mean=1.0)
  both = pd.concat([rows, longer])
  assert results.envelope(both, 'A', 'adam').tolist() == pytest.approx([0.5, 0.75])


def line_data(axes, label):
  return next(line.get_ydata() for line in axes.get_lines() if line.get_label() == label)


def test_the_accuracy_figure_draws_the_rows(rows):
  (axes,) = figures.accuracy_against_steps(rows).axes
  np.testing.assert_allclose(line_data(axes, 'l3rs'), [0.65, 0.85])
  np.testing.assert_allclose(line_data(axes, 'sgd'), [0.45, 0.825])


def test_the_speed_up_figure_draws_ratios_of_steps(rows):
  (axes,) = figures.speedup_curve(rows).axes
  ratio = line_data(axes, 'sgd')
  np.testing.assert_allclose(ratio[-1], 100 / 10 ** (1 + 17.5 / 20), rtol=1e-6)


def test_the_meta_training_figure_draws_every_generation(tmp_path):
  generations = [
    {'step': g, 'loss': 2.0 / g, 'accuracy': None if g == 2 else 0.1 * g, 'num_steps': 10 * g}
    for g in range(1, 6)
  ]
  figure = figures.meta_training_curve(generations)
  offsets = figure.axes[0].collections[0].get_offsets()
  np.testing.assert_allclose(offsets[:, 1], [2.0, 1.0, 2 / 3, 0.5, 0.4])
  figure.savefig(tmp_path / 'figure.png')
  assert is_drawn(tmp_path / 'figure.png')


def test_the_mixture_figure_draws_means_and_layers(rng):
  mu = rng.dirichlet([1.0, 2.0], size=(3, 4, 2))
  norm = rng.uniform(0.1, 1.0, (3, 4, 2))
  shares = {'sgd': mu[..., 0], 'adam': mu[..., 1]}
  figure = figures.mixture_against_step(shares, norm, ['a', 'b'])
  np.testing.assert_allclose(line_data(figure.axes[0], 'adam'), mu[..., 1].mean(axis=(0, 2)))
  np.testing.assert_allclose(line_data(figure.axes[1], 'b'), mu[:, :, 1, 1].mean(axis=0))


def test_the_mixture_of_many_layers_is_a_map_of_the_rarer_directions_by_kind_of_layer(rng):
  layers = [f'{m}/{kind}' for m in ('head', 'stage1_a', 'stage1_b', 'stem', 'x', 'y', 'z')
            for kind in ('bias', 'kernel')]  # fmt: skip
  mu = rng.dirichlet([1.0, 6.0, 2.0], size=(3, 4, len(layers)))
  norm = rng.uniform(0.1, 1.0, (3, 4, len(layers)))
  norm[0, 1, 3] = np.inf  # it diverged
  shares = {'adam': mu[..., 0], 'sgd': mu[..., 1], 'muon': mu[..., 2]}
  figure = figures.mixture_against_step(shares, norm, layers)
  panels = [axes for axes in figure.axes if axes.images and axes.get_title('left')]
  maps = {axes.get_title('left'): axes.images[0].get_array() for axes in panels}
  assert list(maps) == [r'$\mu$ of adam', r'$\mu$ of muon', r'$\lambda$']
  order = [*range(0, 14, 2), *range(1, 14, 2)]  # biases above kernels
  np.testing.assert_allclose(maps[r'$\mu$ of muon'], mu[..., 2].mean(axis=0).T[order])
  np.testing.assert_allclose(maps[r'$\lambda$'], norm.mean(axis=0).T[order])
  names = [name.get_text() for name in panels[0].get_yticklabels()]
  assert names == [layers[layer] for layer in order]
  many = [f'stage{i % 2}_{i // 2}/kernel' for i in range(40)]
  wide = np.full((1, 4, 40), 0.5)
  figure = figures.mixture_against_step({'adam': wide, 'sgd': wide}, wide, sorted(many))
  panel = next(axes for axes in figure.axes if axes.images)
  assert [x.get_text() for x in panel.get_yticklabels()] == ['stage0 kernel', 'stage1 kernel']


def test_a_papers_figures_stand_beside_their_rows(summary):
  results.add_paper(summary, {'A': {'l3rs': [61.0, 86.5]}}, [10, 100])
  assert row_of(summary, 'l3rs', 100)['paper'] == pytest.approx(0.865)
  assert 'paper' not in row_of(summary, 'sgd 0.1', 100)
  rows = results.frame(summary)
  assert results.paper_curve(rows, 'A', 'l3rs').to_dict() == pytest.approx({10: 0.61, 100: 0.865})
  line = next(x for x in table.render(rows).splitlines() if x.startswith('  paper'))
  assert line.split() == ['paper', '61.0', '86.5']
  labels = [x.get_label() for x in figures.accuracy_against_steps(rows).axes[0].lines]
  assert 'l3rs, paper' in labels


def test_speed_up_over_each_family_on_a_logarithmic_axis():
  def row(optimizer, steps, accuracy, hand_designed=True):
    return {
      'experiment': 'A', 'optimizer': optimizer, 'family': optimizer.split()[0],
      'hand_designed': hand_designed, 'num_steps': steps, 'accuracy_mean': accuracy,
    }  # fmt: skip

  rows = [row('l3rs', 10, 0.4, False), row('l3rs', 1000, 0.8, False)]
  rows += [row('adam 0.1', 10, 0.2), row('adam 0.1', 1000, 0.6), row('adam 0.01', 1000, 0.5)]
  rows += [row('sgd 0.1', 10, 0.1), row('sgd 0.1', 1000, 0.3)]
  rows += [row('lion 0.1', 10, 0.5), row('lion 0.1', 1000, 0.9)]
  rows = results.frame(rows)
  assert speedup.over(rows, 'A', 'l3rs', 'adam') == pytest.approx(10.0)  # 1000 / 100
  text = speedup.table(rows, 'l3rs')
  assert re.search(r'adam +10.0x\nsgd +inf\nlion +never\n', text)

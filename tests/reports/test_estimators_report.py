"""The table and the figure of estimators, of workdirs made by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from configs import estimators
from l2o.errors import InputError
from reports import estimators as report
from reports.figures.style import png
from tests.reports.made_run import begun, log


def made(folder, name, seed, losses, generations=None):
  """A sweep's run with an evaluation every two generations, of 30 inner steps each."""
  c = estimators.get_config('smoke')
  blocks = {'pes': {'name': 'pes', 'window': 5}, 'nes': {'name': 'nes', 'population': 3}}
  c.estimator = blocks[name]
  last = 2 * (len(losses) - 1)
  c.meta_train.update(num_generations=generations or last, meta_batch=2, eval_every=2)
  c.sweep, c.seed = [], seed
  if not (folder / 'config.json').exists():
    begun(folder, estimators.get_config('smoke'))
  path = begun(folder / f'row of {name}' / f'seed_{seed}', c)
  rows = [{'step': 0, 'eval_mean_loss': losses[0], 'eval_loss': 9.0}]
  for step in range(1, last + 1):
    of_generation = {'step': step, 'loss': 5.0, 'candidates': 3, 'num_steps': 5}
    rows.append(of_generation | ({'inner_steps': 30} if name == 'pes' else {}))
    if step % 2 == 0:
      rows.insert(-1, {'step': step, 'eval_mean_loss': losses[step // 2], 'eval_loss': 7.0})
  log(path / 'meta_train', rows)
  return folder


@pytest.fixture
def roots(tmp_path):
  """Two sweeps with different seeds of the same rows."""
  first = made(tmp_path / 'a', 'pes', 0, [4.0, 3.0, 2.0, 1.5, 1.0])
  made(first, 'nes', 0, [4.0, 3.5, 3.25, 3.0, 2.5])
  return [first, made(tmp_path / 'b', 'pes', 3, [5.0, 3.0, 1.0, 1.5, 0.5])]


def lines(text):
  cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines()]
  return {row[0]: row[1:] for row in cells}


def test_roots_are_pooled_and_inner_steps_are_counted(roots):
  found, unfinished = report.gather(roots, 'eval_mean_loss')
  assert not unfinished
  assert found[(found['row'] == 'pes, W=5') & (found['seed'] == 3)]['K'].tolist() == [
    0, 60, 120, 180, 240,
  ]  # fmt: skip
  # candidates x tasks x steps, where a generation does not say it
  assert found[found['row'] == 'nes']['K'].tolist() == [0, 60, 120, 180, 240]
  table = lines(report.render(found))
  assert table['estimator'] == ['seeds', 'inner steps', 'start', 'a quarter', 'half', 'end']
  assert table['nes'] == [
    '1', '240', '4.000 ± 0.000', '3.500 ± 0.000', '3.250 ± 0.000', '2.500 ± 0.000',
  ]  # fmt: skip
  assert table['pes, W=5'] == [
    '2', '240', '4.500 ± 0.500', '3.000 ± 0.000', '1.500 ± 0.500', '0.750 ± 0.250',
  ]  # fmt: skip


def test_the_figure_has_the_mean_of_the_seeds_and_a_band(roots):
  found, _ = report.gather(roots, 'eval_mean_loss')
  (axes,) = report.draw(found, 'eval_mean_loss').axes
  curve = next(line for line in axes.lines if line.get_label() == 'pes, W=5')
  np.testing.assert_allclose(curve.get_xdata(), [0, 60, 120, 180, 240])
  np.testing.assert_allclose(curve.get_ydata(), [4.5, 3.0, 1.5, 1.5, 0.75])
  assert len(axes.collections) == 2
  assert axes.get_xlabel() == 'inner steps'
  assert png(axes.figure)


def test_another_measure_can_be_shown(roots):
  found, _ = report.gather(roots, 'eval_loss')
  assert lines(report.render(found))['nes'][2] == '9.000 ± 0.000'


def test_a_loss_that_is_not_finite_is_said(tmp_path):
  root = made(tmp_path / 'a', 'pes', 0, [4.0, 3.0, None])
  made(root, 'pes', 1, [4.0, 3.0, 2.0])
  found, _ = report.gather([root], 'eval_mean_loss')
  row = lines(report.render(found))['pes, W=5']
  assert (row[2], row[-1]) == ('4.000 ± 0.000', 'not finite (1 of 2)')
  assert png(report.draw(found, 'eval_mean_loss'))


def test_a_run_that_stopped_has_no_finite_value_from_there_on(tmp_path):
  root = made(tmp_path / 'a', 'pes', 0, [4.0, 3.0], generations=8)
  log = root / 'row of pes' / 'seed_0' / 'meta_train' / 'metrics.jsonl'
  lost = {'step': 3, 'loss': None, 'candidates': 3, 'nonfinite': 3, 'num_steps': 5}
  log.write_text(f'{log.read_text()}\n{json.dumps(lost | {"inner_steps": 30})}')
  found, unfinished = report.gather([root])
  assert not unfinished
  assert found['K'].tolist() == [0, 60, 120, 180, 240]
  np.testing.assert_array_equal(found['value'], [4, 3, np.nan, np.nan, np.nan])
  assert lines(report.render(found))['pes, W=5'][-1] == 'not finite (1 of 1)'


def test_records_stand_in_place_of_the_runs(roots, tmp_path, monkeypatch, capsys):
  kept = tmp_path / 'kept.csv.gz'
  tables = []
  for given in ([*map(str, roots), f'--records={kept}'], [str(kept)]):
    monkeypatch.setattr('sys.argv', ['x', *given, '--measure=eval_loss'])
    report.main()
    tables.append(capsys.readouterr().out)
  assert tables[0] == tables[1]
  pd.testing.assert_frame_equal(report.gather([kept])[0], report.gather(roots)[0])
  with pytest.raises(InputError, match=r'kept\.csv\.gz: there are two runs of nes with seed 0'):
    report.gather([kept, kept])


def test_unfinished_runs_are_left_out(tmp_path):
  root = made(tmp_path / 'a', 'pes', 0, [4.0, 3.0, 2.0], generations=6)
  with pytest.raises(InputError, match='no run has evaluated eval_mean_loss up to its last'):
    report.gather([root], 'eval_mean_loss')
  made(root, 'nes', 0, [4.0, 3.0, 2.0])
  found, unfinished = report.gather([root], 'eval_mean_loss')
  assert [*found['row'].unique()] == ['nes']
  assert unfinished == [str(root / 'row of pes' / 'seed_0')]


def test_what_is_no_sweep_or_there_twice_is_refused(roots, tmp_path):
  alone = begun(tmp_path / 'alone', _without_rows())
  with pytest.raises(InputError, match='holds a single run'):
    report.gather([alone], 'eval_mean_loss')
  with pytest.raises(InputError, match='two runs of nes with seed 0'):
    report.gather([roots[0], roots[0]], 'eval_mean_loss')


def _without_rows():
  c = estimators.get_config('smoke')
  c.sweep = []
  return c


def test_the_command_prints_the_table_and_writes_the_figure(roots, tmp_path, monkeypatch, capsys):
  out = tmp_path / 'figure.png'
  monkeypatch.setattr('sys.argv', ['x', *map(str, roots), f'--out={out}'])
  report.main()
  assert '| nes | 1 | 240 |' in capsys.readouterr().out
  assert out.read_bytes().startswith(b'\x89PNG')
  monkeypatch.setattr('sys.argv', ['x', str(tmp_path)])
  with pytest.raises(SystemExit, match=r'error: .* holds no run'):
    report.main()

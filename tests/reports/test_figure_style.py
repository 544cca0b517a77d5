"""Lines that stand out, names that do not overlap, and figures drawn again from records."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from l2o.errors import InputError
from reports import figures, records, report, results, workdir
from reports.figures import of_run, style
from tests.pictures import is_drawn
from tests.reports import made_run

FAMILIES = [f'family_{number}' for number in range(9)]


def measured(rng, hand_designed=FAMILIES):
  """Two horizons, five tasks; the learned one is the best, then the families in their order."""
  tables = []
  for rank, optimizer in enumerate(['l3rs', *hand_designed]):
    for steps in (10, 40):
      accuracy = 0.8 - 0.05 * rank + 0.001 * steps + rng.uniform(-0.02, 0.02, (5, 1))
      tables.append(
        records.of_tasks(
          {'accuracy': accuracy, 'loss': 1 - accuracy}, [''],
          experiment='A', source='glyphs', optimizer=optimizer, hand_designed=optimizer != 'l3rs',
          seed=3, K=steps,
        )
      )  # fmt: skip
  return pd.concat(tables, ignore_index=True)


@pytest.fixture
def rows(rng):
  return results.frame(results.summarize(measured(rng), samples=500, seed=3))


def lines_of(axes):
  return {line.get_label(): line for line in axes.lines if line.get_label() != '_'}


def test_the_learned_one_is_thick_six_families_have_a_colour_and_others_are_grey(rows):
  (axes,) = figures.accuracy_against_steps(rows).axes
  lines = lines_of(axes)
  assert lines['l3rs'].get_color() == style.LEARNED
  thickest = max(lines.values(), key=lambda line: line.get_linewidth())
  assert thickest is lines['l3rs']
  colours = [lines[family].get_color() for family in FAMILIES]
  assert colours == [*style.COLOURS, *[style.OTHERS] * 3]
  names = {text.get_text().replace('\n', ' ') for text in axes.texts}
  assert names == {'l3rs', *(f'family {n}' for n in range(6)), '3 more families'}


def test_names_do_not_overlap_and_stay_beside_the_panel(rows):
  rows['accuracy_mean'] = rows['accuracy_mean'].where(rows['num_steps'] == 10, 0.7)  # one point
  (axes,) = figures.accuracy_against_steps(rows).axes
  inches = axes.get_position().height * axes.figure.get_figheight()
  at = sorted(text.get_position()[1] for text in axes.texts)
  assert np.all(np.diff(at) * inches * 72 >= style.NAME_SIZE)
  assert at[0] >= 0
  assert at[-1] <= 1


@pytest.mark.parametrize(('low', 'high'), [(0.66, 1.6), (0.3, 2.0), (2e-4, 9e-3)])
def test_a_logarithmic_axis_has_numbers_however_short_it_is(low, high):
  _, (axes,) = style.panels(1)
  axes.plot([0, 1], [low, high])
  style.log_values(axes)
  shown = [tick for tick in axes.get_yticks() if low <= tick <= high]
  assert 3 <= len(shown) <= 7


def test_many_names_are_written_smaller_so_that_all_fit_beside_the_panel():
  _, (axes,) = style.panels(1)
  axes.plot([0, 1], [0.2, 0.7])
  names = [f'optimizer {number}' for number in range(24)]
  style.name_ends(axes, [style.End(1, 0.7, name, 'black') for name in names])
  inches = axes.get_position().height * axes.figure.get_figheight()
  at = sorted(text.get_position()[1] for text in axes.texts)
  assert at[0] >= 0
  assert at[-1] <= 1
  (size,) = {text.get_size() for text in axes.texts}
  assert size >= 3.5
  assert np.all(np.diff(at) * inches * 72 >= size)


def test_the_band_is_the_interval_of_the_learned_ones_mean(rows):
  (axes,) = figures.accuracy_against_steps(rows).axes
  (band,) = axes.collections
  shown = band.get_paths()[0].vertices
  for row in rows[rows['optimizer'] == 'l3rs'].itertuples():
    assert row.accuracy_low < row.accuracy_mean < row.accuracy_high
    there = shown[shown[:, 0] == row.num_steps, 1]
    assert {there.min(), there.max()} == {row.accuracy_low, row.accuracy_high}


def test_rows_without_intervals_get_those_of_their_records(rng):
  table = measured(rng)
  rows = results.summarize(table, samples=500, seed=3)
  older = [
    {k: v for k, v in row.items() if k not in ('accuracy_low', 'accuracy_high')} for row in rows
  ]
  assert older != rows
  assert results.with_intervals(older, table, samples=500, seed=3) == rows


def test_a_figure_has_the_same_bytes_when_it_is_drawn_twice(rows):
  twice = [style.png(figures.accuracy_against_steps(rows)) for _ in range(2)]
  assert twice[0] == twice[1]


def draw(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'reports.figures', *map(str, arguments)], capture_output=True, text=True
  )


def test_figures_are_drawn_from_a_file_of_records(tmp_path, rng):
  file = tmp_path / 'mine.csv.gz'
  file.write_bytes(records.pack(measured(rng)))
  refused = draw(file)
  assert refused.returncode == 1
  assert refused.stderr == f'error: {file} is a file: add --out=FOLDER for its figures\n'
  done = draw(file, f'--out={tmp_path / "out"}')
  assert done.returncode == 0, done.stderr
  for name in ('accuracy', 'speedup'):
    assert is_drawn(tmp_path / 'out' / f'mine_{name}.png')


def test_a_figure_is_drawn_from_a_trace(tmp_path, rng):
  file = tmp_path / 'mine.npz'
  share, layers = rng.uniform(0, 1, (2, 5, 14)), [f'block{i}/kernel' for i in range(14)]
  np.savez(file, **{'mu/sgd': share, 'mu/adam': 1 - share, 'lambda': share, 'layers': layers})
  done = draw(file, f'--out={tmp_path}')
  assert done.returncode == 0, done.stderr
  assert is_drawn(tmp_path / 'mine_mixture.png')
  np.savez(file, **{'mu/sgd': share, 'layers': layers})
  with pytest.raises(InputError, match=r'mine\.npz is not the trace of a run \(.*lambda'):
    report.of_trace(file)
  with file.open('wb') as array:
    np.save(array, share)
  damaged = [b'PK', b'', file.read_bytes()]
  for content in damaged:
    file.write_bytes(content)
    with pytest.raises(InputError, match=r'mine\.npz is not the trace of a run'):
      report.of_trace(file)
  np.savez(file, layers=layers)
  assert draw(file, f'--out={tmp_path}').stderr.endswith(
    'mine.npz has no numbers for a figure; give a run or its records\n'
  )


def test_a_run_that_has_not_ended_is_refused(tmp_path):
  with pytest.raises(InputError, match=r'holds no run: it has no config\.json'):
    workdir.load(tmp_path)
  with pytest.raises(InputError, match=r'cannot be read \(Is a directory\)'):
    workdir.read(tmp_path)
  (tmp_path / 'config.json').write_text(json.dumps({'sweep': [], 'meta_evaluate': {}}))
  with pytest.raises(InputError, match='is not finished'):
    of_run.of_run(workdir.load(tmp_path))


def test_rows_of_a_sweep_can_be_drawn_alone(tmp_path):
  sweep = made_run.begun(tmp_path / 'sweep', made_run.hub_function.get_config('smoke'))
  (sweep / 'results.json').write_text('[]')
  losses = {'adam': (4.0, 1.5, 2.5), 'learned': (4.0, 1.0, 0.5), 'hub': (4.0, 2.0, 3.0)}
  for row, values in losses.items():
    made_run.job(sweep / row / 'seed_0', losses=values)
  run = workdir.load(sweep)
  chosen = of_run.of_run(of_run.only(run, ['hub', 'adam', 'hub']))['training']
  drawn = {name: line.get_ydata() for name, line in lines_of(chosen.axes[0]).items()}
  assert list(drawn) == ['hub', 'adam']
  np.testing.assert_allclose(drawn['hub'], losses['hub'])
  with pytest.raises(InputError, match=r"no row of .*sweep 'adm' .did you mean 'adam'"):
    of_run.only(run, ['adm'])
  with pytest.raises(InputError, match='--row is for sweeps of training jobs'):
    of_run.only(workdir.load(sweep / 'adam' / 'seed_0'), ['adam'])
  assert '--row needs --out=FOLDER' in draw(sweep, '--row=adam').stderr
  assert '--row is for the workdir of a sweep' in draw(tmp_path / 'x.npz', '--row=adam').stderr

"""Runs of one evaluation, a family each, as one table."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from l2o.errors import InputError
from reports import families, records
from trainers.harness.folder import RECORDS

RATES = ('0.1', '0.01', '0.001')


def measured(optimizer, accuracies, settings=('',), seed=0):
  """Two tasks at two horizons, around the mean accuracies [K, settings]."""
  parts = []
  for steps, means in zip((10, 100), accuracies, strict=True):
    values = np.add(means, [[-0.125], [0.125]])
    known = {'experiment': 'A', 'source': 'glyphs', 'optimizer': optimizer, 'K': steps}
    known |= {'hand_designed': settings != ('',), 'seed': seed}
    of = {'accuracy': values, 'loss': values, 'tuning/loss': values}
    parts.append(records.of_tasks(of, settings, **known))
  return pd.concat(parts)


@pytest.fixture
def save(tmp_path):
  def run(name, *tables):
    (tmp_path / name).mkdir()
    (tmp_path / name / records.FILE).write_bytes(records.pack(pd.concat(tables)))
    return tmp_path / name

  return run


@pytest.fixture
def runs(save):
  learned = measured('l3rs', [[0.625], [0.75]])
  sgd = measured('sgd', [[0.25, 0.5, 0.25], [0.25, 0.25, 0.5]], RATES)
  adam = measured('adam', [[0.25, 0.375, 0.125], [0.25, 0.6875, 0.5]], RATES)
  return save('sgd', learned, sgd), save('adam', learned, adam)


def lines(text):
  found = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines()]
  return {row[0]: row[1:] for row in found if row}


def test_an_experiment_without_rivals_has_no_speed_up(runs, save):
  alone = measured('l3rs', [[0.5], [0.75]]).assign(experiment='B')
  found, _ = families.gather([*runs, save('alone', alone)])
  said = families.report(found)
  assert '**Experiment B**' in said
  assert 'Speed-up, experiment A: adam 0.01 has' in said
  assert 'Speed-up, experiment B' not in said


def test_a_tuned_cell_that_was_measured_twice_has_a_speed_up(save):
  """Another grid may choose another rate for the cell."""
  tried = measured('sgd', [[0.25, 0.5], [0.25, 0.5]], RATES[:2])
  tried['measure'] = 'tuning/' + tried['measure'].str.removeprefix('tuning/')
  first = measured('sgd', [[0.25], [0.625]], RATES[:1])
  again = measured('sgd', [[0.25], [0.5]], RATES[1:2])
  learned = measured('l3rs', [[0.5], [0.75]])
  found, _ = families.gather([save('a', learned, first, tried), save('b', learned, again)])
  assert 'l3rs reaches it after about 32 (interpolated): 3.2x [' in families.report(found)


def test_a_tuned_learned_optimizer_has_its_rate(save):
  tried = measured('celo2', [[0.25, 0.5, 0.25], [0.25, 0.25, 0.5]], RATES)
  tried['measure'] = 'tuning/' + tried['measure'].str.removeprefix('tuning/')
  chosen = pd.concat(
    measured('celo2', [[0.5], [0.5]], (rate,)).query(f'K == {steps}')
    for rate, steps in (('0.01', 10), ('0.001', 100))
  )
  celo2 = pd.concat([tried, chosen]).assign(hand_designed=False)
  found, _ = families.gather([save('celo2', celo2)])
  rows = lines(families.report(found))
  assert rows['celo2'] == ['50.0 ± 12.5 (0.01)', '50.0 ± 12.5 (0.001<)']


def test_each_family_is_compared_with_the_best_of_all_runs(runs):
  found, apart = families.gather(runs)
  rows = lines(families.report(found))
  assert not apart
  assert rows['l3rs'] == ['62.5 ± 12.5', '75.0 ± 12.5']
  assert rows['difference'][0].startswith('+12.5 ')  # sgd is the best at K = 10
  assert rows['difference'][1].startswith('+6.2 ')  # adam at 100
  assert rows['sgd'] == ['**50.0** (0.01)', '50.0 (0.001<)']
  assert rows['adam'] == ['37.5 (0.01)', '**68.8** (0.01)']
  assert len(found) == 2 * 2 * 2 * (1 + 3 + 3)  # tasks, horizons, measures; l3rs once


def test_of_an_optimizer_measured_twice_the_first_counts_and_a_sentence_says_so(save, runs):
  again = save('again', measured('l3rs', [[0.6875], [0.75]]))
  found, apart = families.gather([*runs, again])
  assert lines(families.report(found))['l3rs'][0] == '62.5 ± 12.5'
  assert apart == 'Runs differ by up to 6.2 points in mean accuracy of l3rs; the first counts.'


def test_seeds_have_tables_of_their_own(save, runs):
  other = save('other', measured('l3rs', [[0.875], [0.875]], seed=1),
               measured('sgd', [[0.5], [0.5]], ('0.1',), seed=1))  # fmt: skip
  found, _ = families.gather([*runs, other])
  first, second = families.report(found).split('Seed 1')
  assert lines(first)['l3rs'][0] == '62.5 ± 12.5'
  assert lines(second)['l3rs'][0] == '87.5 ± 12.5'


def test_learned_optimizers_alone_have_a_table_without_differences_and_speed_ups(save):
  found, _ = families.gather([save('alone', measured('l3rs', [[0.625], [0.75]]))])
  told = families.report(found)
  assert lines(told)['l3rs'] == ['62.5 ± 12.5', '75.0 ± 12.5']
  assert 'difference' not in told
  assert 'Speed-up' not in told


def test_kept_records_stand_in_place_of_the_runs(runs, tmp_path):
  kept = tmp_path / 'kept.csv.gz'
  command = [sys.executable, '-m', 'reports.families']
  told = subprocess.run([*command, *runs, f'--out={kept}'], capture_output=True, text=True)
  assert told.returncode == 0, told.stderr
  again = subprocess.run([*command, kept], capture_output=True, text=True)
  assert again.stdout == told.stdout
  assert '**68.8** (0.01)' in told.stdout


def test_the_file_is_the_one_that_runs_write():
  assert records.FILE == RECORDS


def test_a_folder_without_records_is_named(tmp_path):
  with pytest.raises(InputError, match=r'records\.csv\.gz is missing; give folders of finished'):
    families.gather([tmp_path])

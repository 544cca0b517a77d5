"""The long table: what is written is what is read, exactly, or is refused in one sentence."""

import gzip

import numpy as np
import pandas as pd
import pytest

from l2o.errors import InputError
from reports import records
from reports.tables import render

KNOWN = {'experiment': 'A', 'source': 'glyphs', 'hand_designed': True}


def table(values, optimizer='adam', setting='', **known):
  """A task for each value."""
  known = KNOWN | {'seed': 0, 'K': 10} | known
  return records.of_tasks({'loss': np.array([values]).T}, [setting], optimizer=optimizer, **known)


def again(path, frame):
  path.write_bytes(records.pack(frame))
  return records.read(path, 'delete it')


def test_every_float32_comes_back_bit_for_bit(tmp_path, rng):
  bits = rng.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
  odd = np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0, 1 / 3, 1e-45, 3.4028235e38])
  values = np.concatenate([bits[~np.isnan(bits)], odd])
  back = again(tmp_path / 'records.csv.gz', table(values))['value'].to_numpy()
  assert back.dtype == np.float32
  there = ~np.isnan(values)
  np.testing.assert_array_equal(np.isnan(back), ~there)
  np.testing.assert_array_equal(back[there].view(np.uint32), values[there].view(np.uint32))


@pytest.mark.parametrize(
  'name', ['a, b', 'the "best"', 'é µ 学', 'None', 'nan', '', '1e5', '001', 'True', 'a\nb', ' x ']
)
def test_names_come_back_as_they_are(name, tmp_path):
  frame = table([1.0], optimizer=name, setting=name, experiment=name)
  pd.testing.assert_frame_equal(again(tmp_path / 'records.csv.gz', frame), frame)


def test_a_table_without_rows_comes_back_without_rows(tmp_path):
  frame = table([1.0])[:0]
  pd.testing.assert_frame_equal(again(tmp_path / 'records.csv.gz', frame), frame)


def test_equal_tables_are_equal_files():
  assert records.pack(table([1.0, 2.0])) == records.pack(table([1.0, 2.0]))


def text_of(frame):
  return frame.to_csv(index=False)


@pytest.mark.parametrize(
  'content',
  [
    b'',
    b'no gzip',
    gzip.compress(b''),
    gzip.compress(b'\xff\xfe'),
    gzip.compress(b'x' * 5000)[:-9],
    gzip.compress(b'a,b\n1,2\n'),
    gzip.compress(text_of(table([1.0]).drop(columns='seed')).encode()),
    gzip.compress(text_of(table([1.0])).replace('1.0', 'much').encode()),
    gzip.compress(text_of(table([1.0])).replace('10,', '9' * 30 + ',').encode()),
    gzip.compress(text_of(table([1.0])).replace('10,', '10,10,').encode()),
    gzip.compress(text_of(table([1.0])).replace('10,loss', ',loss').encode()),
  ],
  ids=lambda content: f'{len(content)} bytes',  # gzip writes the time into them
)
def test_a_damaged_file_is_refused_in_one_sentence(content, tmp_path):
  path = tmp_path / 'records.csv.gz'
  path.write_bytes(content)
  with pytest.raises(InputError) as refused:
    records.read(path, 'delete it')
  said = str(refused.value)
  assert said.startswith(f'{path} is damaged (')
  assert said.endswith('; delete it')
  assert '\n' not in said


def test_every_bit_that_is_flipped_is_noticed(tmp_path):
  path = tmp_path / 'records.csv.gz'
  path.write_bytes(records.pack(frame := table([1.0, 2.0])))
  whole = path.read_bytes()
  for place in range(len(whole)):
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
    try:
      back = records.read(path, 'delete it')
    except InputError:
      continue
    pd.testing.assert_frame_equal(back, frame)  # a field of gzip's header that means nothing here


def test_what_is_not_there_is_missing_and_a_folder_is_refused(tmp_path):
  with pytest.raises(InputError, match='is missing; delete it'):
    records.read(tmp_path / 'none', 'delete it')
  with pytest.raises(InputError, match=r'cannot be read .*directory'):
    records.read(tmp_path, 'delete it')


def test_two_rows_of_two_seeds_pivot_to_what_was_measured():
  """By hand: [row, seed] -> the mean of two tasks."""
  frame = records.gather({
    'base': [table([0.5, 1.0], seed=4), table([0.25, 0.75], seed=0)],
    'other': [table([0.0, 0.5], seed=4), table([1.0, 1.0], seed=0)],
  })  # fmt: skip
  assert list(frame['row'].unique()) == ['base', 'other']
  found = frame.pivot_table(index='row', columns='seed', values='value')
  assert found.loc['base'].to_dict() == {0: 0.5, 4: 0.75}
  assert found.loc['other'].to_dict() == {0: 1.0, 4: 0.25}
  assert records.gather({'base': []}).empty


def test_the_table_of_a_job_has_its_log_and_its_evaluations():
  logged = [{'step': 1, 'loss': 2.0, 'mu/a': 0.5}, {'step': 2, 'eval_loss': 1.0}]
  logged += [{'step': 1, 'loss': 3.0}, {'step': 3, 'loss': 'torn'}]  # of a log that was damaged
  results = {
    'final': {'step': 9, 'eval_loss': None},
    'best': {'step': 2, 'loss': 1.0},
    'test': {'psnr': 20.0},
    'restarts': 0,
  }
  frame = records.of_job(logged, results, optimizer='adam', hand_designed=True, seed=3)
  assert {(row.K, row.measure): row.value for row in frame.itertuples()} == pytest.approx(
    {
      (1, 'mu/a'): 0.5, (2, 'eval_loss'): 1.0, (1, 'loss'): 3.0, (3, 'loss'): np.nan,
      (9, 'final/eval_loss'): np.nan, (2, 'best/loss'): 1.0, (9, 'test/psnr'): 20.0,
    },
    nan_ok=True,
  )  # fmt: skip
  assert set(frame['seed']) == {3}


def test_a_cell_with_a_bar_does_not_break_a_markdown_table():
  cells = pd.DataFrame({'optimizer': ['a|b'], 'loss': ['1']})
  assert render(cells, 'markdown').splitlines()[2] == r'| a\|b | 1 |'

"""metrics.jsonl, and TensorBoard events where TensorFlow is installed."""

import json
import sys

import numpy as np

from reports.results import read_lines
from trainers.harness import writers
from trainers.harness.folder import Folder
from trainers.harness.writers import JsonLinesWriter, create_writer


def test_scalars_become_json_lines_without_nan(tmp_path):
  writer = JsonLinesWriter(tmp_path / 'm.jsonl')
  writer.write_scalars(1, {'loss': np.float32(0.5), 'nonfinite': np.int32(2)})
  writer.write_scalars(2, {'loss': np.nan})
  writer.close()
  lines = (tmp_path / 'm.jsonl').read_text().splitlines()
  assert json.loads(lines[0]) == {'step': 1, 'loss': 0.5, 'nonfinite': 2.0}
  assert json.loads(lines[1], parse_constant=lambda c: 1 / 0) == {'step': 2, 'loss': None}


def test_a_resumed_run_writes_its_steps_once(tmp_path):
  path = tmp_path / 'm.jsonl'
  first = JsonLinesWriter(path)
  for step in (1, 2, 3):
    first.write_scalars(step, {'x': step})
  first.close()
  with path.open('a') as file:
    file.write('{"step": 4, "x"')  # cut short by a kill
  second = JsonLinesWriter(path, start=2)
  second.write_scalars(3, {'x': 30})
  second.close()
  assert [(row['step'], row['x']) for row in read_lines(path)] == [(1, 1), (2, 2), (3, 30)]


def test_what_was_written_before_the_first_step_is_written_once_if_a_run_begins_again(tmp_path):
  path = tmp_path / 'm.jsonl'
  for x in (7, 8):
    writer = JsonLinesWriter(path)
    writer.write_scalars(0, {'x': x})
    writer.close()
  resumed = JsonLinesWriter(path, start=2)
  resumed.write_scalars(3, {'x': 30})
  resumed.close()
  assert [(row['step'], row['x']) for row in read_lines(path)] == [(0, 8), (3, 30)]


def test_tensorboard_gets_the_same_scalars(tmp_path, tensorboard):
  from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
  from tensorboard.util.tensor_util import make_ndarray

  writer = create_writer(Folder(tmp_path))
  writer.write_scalars(7, {'loss': 0.25})
  writer.close()
  events = EventAccumulator(str(tmp_path))
  events.Reload()
  (tensor,) = events.Tensors('loss')
  assert tensor.step == 7
  assert make_ndarray(tensor.tensor_proto) == 0.25
  assert [row['loss'] for row in read_lines(tmp_path / 'metrics.jsonl')] == [0.25]


def test_without_tensorflow_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 'clu.metric_writers', None)
  writers._tell_once.cache_clear()
  try:
    for name in ('pretrain', 'meta_train'):
      writer = create_writer(Folder(tmp_path / name))
      writer.write_scalars(7, {'loss': 0.25})
      writer.close()
  finally:
    writers._tell_once.cache_clear()
  (line,) = capsys.readouterr().out.splitlines()
  assert "pip install 'l2o[tensorflow]'" in line
  for folder in tmp_path.iterdir():
    assert [path.name for path in folder.iterdir()] == ['metrics.jsonl']
    assert [row['loss'] for row in read_lines(folder / 'metrics.jsonl')] == [0.25]

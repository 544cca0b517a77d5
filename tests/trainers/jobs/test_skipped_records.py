"""How many bad records a run did without, in its metrics and its results."""

import json
import types

import numpy as np
import pytest
from PIL import Image

import datasets
from configs import common
from datasets.source import ArraySource
from l2o.errors import InputError
from reports.results import read_lines
from tests.tiny_run import SGD, execute, tiny
from trainers.resources import run_data

NAMES = [f'n{c:02d}' for c in range(10)]


@pytest.fixture
def folder(tmp_path):
  """A Tiny-ImageNet of ten classes whose image 1 of class 3 is truncated, as is one to validate."""
  root = tmp_path / 'tiny-imagenet-200'
  rng = np.random.default_rng(0)
  (root / 'val' / 'images').mkdir(parents=True)
  (root / 'wnids.txt').write_text('\n'.join(NAMES))
  (root / 'words.txt').write_text('')
  annotations = []
  for name in NAMES:
    (root / 'train' / name / 'images').mkdir(parents=True)
    for i in range(4):
      picture = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
      picture.save(root / 'train' / name / 'images' / f'{name}_{i}.JPEG', 'JPEG')
      picture.save(root / 'val' / 'images' / f'{name}{i}.JPEG', 'JPEG')
      annotations.append(f'{name}{i}.JPEG\t{name}\n')
  (root / 'val' / 'val_annotations.txt').write_text(''.join(annotations))
  for damaged in (root / 'train/n03/images/n03_1.JPEG', root / 'val/images/n050.JPEG'):
    damaged.write_bytes(damaged.read_bytes()[:900])
  return root


def source(folder, **changes):
  return {
    'name': 'tiny_imagenet',
    'path': str(folder),
    'size': 8,
    'on_bad_record': 'skip',
  } | changes


def lines(folder):
  return [row['skipped_records'] for row in read_lines(folder) if 'skipped_records' in row]


def test_a_pipeline_counts_them_once_in_each_stage_and_in_each_row(folder, tmp_path):
  config = tiny(sources={'glyphs': source(folder)}, rule=SGD) | {
    'class_split': {'glyphs': {'pretrain': 4, 'meta_train': 3, 'meta_test': 3}}
  }
  config['episodes'] = config['episodes'] | {'num_ways': 3, 'eval_size': 6}
  config['pretrain'] = config['pretrain'] | {'batch_size': 4}
  run = execute(config, tmp_path / 'run', drawn=False)
  rows = json.loads((run / 'results.json').read_text())
  assert rows
  assert {row['skipped_records'] for row in rows} == {2}
  for stage in ('pretrain', 'meta_train', 'meta_evaluate'):
    assert lines(run / stage / 'metrics.jsonl') == [2]


def test_a_training_job_counts_them_too_and_says_nothing_without(folder, tmp_path):
  c = common.train_base()
  c.task, c.model = {'name': 'classification'}, {'name': 'mlp', 'features': (4,)}
  c.rule = {'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': 0.1}
  c.train.update(num_steps=2, log_every=1, eval_every=1)
  found = {}
  for name, split in (('some', 'skip'), ('none', 'error')):
    c.batch_source = {
      'name': 'images', 'source': source(folder, on_bad_record=split),
      'split': {'all': 10}, 'classes': 'all', 'batch_size': 4, 'num_evaluated': 9,
    }  # fmt: skip
    run = execute(common.freeze(c), tmp_path / name, drawn=False)
    results = json.loads((run / 'results.json').read_text())
    found[name] = results.get('skipped_records'), lines(run / 'train' / 'metrics.jsonl')
    for damaged in (folder / 'train/n03/images/n03_1.JPEG', folder / 'val/images/n050.JPEG'):
      damaged.write_bytes((folder / 'val/images/n001.JPEG').read_bytes())
  assert found == {'some': (2, [2]), 'none': (None, [])}


@pytest.mark.parametrize('split', datasets.SPLITS)
def test_a_class_without_examples_is_refused_where_it_is_used(split):
  def source(labels):
    return ArraySource(np.zeros((len(labels), 4, 4, 1), np.uint8), np.array(labels), 'abc')

  found = {
    part: source([0, 2, 2, 0] if part == split else [2, 1, 0, 0]) for part in datasets.SPLITS
  }
  parts = {'pets': {'some': np.array([0, 2]), 'others': np.array([1, 2])}}
  data = run_data.Data({'pets': found}, parts, 0, None)
  spec = types.SimpleNamespace(num_ways=2, batch_size=2, eval_size=1)
  run_data.task_sampler(data, spec, 'pets', 'some', 0)
  assert run_data.class_names(data, 'pets', 'others') == ['b', 'c']
  with pytest.raises(InputError, match=rf"sources\.pets, {split}: the class 'b' has no examples"):
    run_data.task_sampler(data, spec, 'pets', 'others', 0)

"""Configs that would give wrong numbers, or an error after everything was computed."""

import json

import pytest

import l2o
from configs import common
from l2o.errors import InputError
from tests.tiny_run import execute, tiny, tiny_job
from trainers import run
from trainers.jobs import pipeline

L3RS = {'name': 'l3rs'}
SGD = {'name': 'hand_designed', 'optimizer': 'sgd'}
GUARD = {'name': 'lgl2o', 'hand_designed': SGD, 'learned': L3RS}


def set_key(config, key, value):
  *path, last = key.split('.')
  block = config
  for part in path:
    block = block[part]
  block[last] = value
  return config


@pytest.mark.parametrize(
  ('key', 'value', 'says'),
  [
    ('meta_evaluate.baselines.l3rs', {'rule': L3RS}, 'baselines.l3rs has the name of the learned'),
    (
      'meta_evaluate.baselines.sgd_constant.learning_rates',
      [0.1, 0.1],
      "two rows are called 'sgd_constant 0.1'",
    ),
    ('meta_evaluate.baselines.a/b', {'rule': L3RS}, "cannot be called 'a/b'"),
    ('meta_evaluate.baselines.sgd_constant.learning_rates', ['x'], r'rates\[0\] must be a number'),
    ('meta_evaluate.baselines.sgd_constant.learning_rates', 0.1, 'learning_rates must be a list'),
    ('meta_evaluate.baselines.sgd_constant', 'sgd', 'sgd_constant must be a block of keys'),
    ('meta_evaluate.paper', {'A': {'l3rs': [50.0]}}, 'must have an accuracy for each of the 2'),
    ('meta_evaluate.paper', {'A': {'l3rs': 'high'}}, r'paper\.A\.l3rs must be a list'),
    ('meta_evaluate.paper', {'A': {'velo': [50.0, 60.0]}}, "no optimizer of .* 'velo'"),
    ('meta_evaluate.paper', {'B': {'l3rs': [50.0, 60.0]}}, "no experiment of .* 'B'"),
    ('meta_evaluate.paper', 'x', 'meta_evaluate.paper must be a block'),
    ('meta_evaluate.mesh', {'data': 2}, 'meta_evaluate.mesh.data must be 1'),
    ('meta_evaluate.draw_steps', 4, 'draw_steps must be 0 or at least the longest of num_steps, 5'),
    ('meta_evaluate.num_task', 3, "meta_evaluate has no 'num_task'"),
    ('meta_train.generations', 3, "meta_train has no 'generations'"),
    ('meta_train.optimizer.learning_rate', '0.1', 'learning_rate must be a number above 0'),
    ('pretrain.num_step', 3, "pretrain has no 'num_step'"),
    ('pretrain.starts.main.number', 1.5, 'starts.main.number must be a whole number'),
    ('pretrain.starts.a/b', {'source': 'glyphs', 'classes': 'pretrain'}, "called 'a/b'"),
    ('episodes.num_ways', 0, 'episodes.num_ways must be at least 1, not 0'),
    ('episodes.num_ways', 1, 'episodes.num_ways must be at least 2 in classification, not 1'),
    ('episodes.ways', 5, "episodes has no 'ways'"),
    ('meta_train.mesh.data', 3, 'needs|does not divide a batch'),
    ('rule', {'name': 'l3rs', 'hidden': [-3]}, r'hidden\[0\] must be at least 1'),
    ('rule', {'name': 'velo', 'bank_size': 0}, 'bank_size must be at least 1'),
    ('rule', {'name': 'head_only', 'rule': L3RS, 'head': 'top'}, "no head 'top'"),
    (
      'rule',
      {'name': 'hub', 'hand_designed': SGD, 'learned': L3RS,
       'weighting': {'name': 'block_wise', 'new': 'top'}},
      "no new block 'top'",
    ),
    ('meta_evaluate.baselines.top', {'rule': {**SGD, 'trainable': 'head', 'head': 'top'}}, 'top'),
    (
      'meta_evaluate.baselines.l3rs_grid',
      {'rule': L3RS, 'learning_rates': [0.1]},
      'baselines.l3rs_grid: learning_rates are for these rules alone: hand_designed, celo2',
    ),
    ('model.features', 'wide', 'features must be a list'),
    ('seeds', 3, "config has no 'seeds'"),
    ('model', 'mlp', 'config.model must be a block of keys'),
    ('checkpoint_every_secs', -1, 'config.checkpoint_every_secs must be at least 0'),
  ],
)  # fmt: skip
def test_a_pipeline_that_cannot_come_to_results_is_refused(key, value, says, tmp_path):
  with pytest.raises(InputError, match=says):
    execute(set_key(tiny(), key, value), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('block', sorted(set(tiny()) - {'train'}))
def test_a_config_without_a_block_is_refused_by_its_name(block, tmp_path):
  config = tiny()
  del config[block]
  with pytest.raises(InputError, match=f'config needs {block}'):
    execute(config, tmp_path / 'run')


@pytest.mark.parametrize('config', [None, [], 'x', {}])
def test_what_is_no_config_is_refused(config, tmp_path):
  with pytest.raises(InputError, match=r'a config is a dict|config needs'):
    run.run(config, tmp_path / 'run', {}, {})


def test_a_guard_without_fresh_batches_is_refused_before_pretraining(tmp_path):
  config = tiny(**{'feed.chunk_steps': 2})
  config['rule'] = GUARD
  with pytest.raises(InputError, match=r'rule: lgl2o needs value_fn|lgl2o needs value_fn'):
    execute(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_state_that_no_device_can_hold_is_refused(tmp_path):
  with pytest.raises(InputError, match='the state of train is too large'):
    run.run(tiny_job(**{'task.dimension': 10**12}), tmp_path / 'run', {}, {})
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  ('placement', 'says'),
  [
    ([['(', ['model']]], 'must be a regular expression'),
    ([['x', 'model']], 'must be a regular expression'),
    ([['x']], 'must be a regular expression'),
    ([[3, ['model']]], 'must be a regular expression'),
    ([['x', [2]]], 'must be a regular expression'),
    ([['x', ['modle']]], "no axis of the mesh 'modle'"),
    ([['y', ['model']]], "no array of the state matches 'y'"),
    ('x', 'placement must be a list'),
  ],
)
def test_a_placement_that_means_nothing(placement, says, tmp_path):
  config = set_key(tiny_job(), 'train.placement', placement)
  with pytest.raises(InputError, match=says):
    run.run(config, tmp_path / 'run', {}, {})


@pytest.mark.parametrize(
  ('key', 'value', 'says'),
  [
    ('meta_evaluate.experiments.A.classes', 'meta_train', "meta-training of l3rs had seen: '"),
    ('meta_evaluate.experiments.A.classes', 'pretrain', "that pretraining had seen: '.' and 30"),
    ('meta_evaluate.experiments.A.classes', 'all', 'that pretraining had seen'),
    ('pretrain.starts.main.classes', 'meta_train', 'meta-training has classes that pretraining'),
  ],
)
def test_classes_that_were_seen_before_are_refused(key, value, says, tmp_path):
  with pytest.raises(InputError, match=says):
    pipeline.build(set_key(tiny(), key, value))


def test_an_optimizer_from_a_file_was_meta_trained_on_classes_too():
  """Another seed deals the classes out anew, into those that the file's seed gave to l3rs."""
  config = tiny(seed=1, **{'meta_train.num_generations': 0, 'model.features': (8, 8)})
  config['rule'] = {'name': 'hub', 'hand_designed': SGD, 'learned': {
    'name': 'artifact', 'path': 'l3rs-quickstart'}}  # fmt: skip
  with pytest.raises(InputError, match='meta-training of hub had seen'):
    pipeline.build(config)
  pipeline.build({**config, 'seed': 0})


@pytest.fixture(scope='module')
def learned_alone(tmp_path_factory):
  """The folder of a run without hand-designed optimizers, evaluated on classes that it has seen."""
  config = set_key(tiny(), 'meta_evaluate.experiments.A.classes', 'meta_train')
  config = set_key(config, 'meta_evaluate.allow_seen_classes', True)
  config['meta_evaluate']['baselines'] = {'untrained': {'rule': L3RS}}
  return execute(config, tmp_path_factory.mktemp('learned_alone') / 'run')


def test_seen_classes_that_are_wanted_are_told_in_table_and_card(learned_alone):
  assert 'note: l3rs is evaluated on 15 classes' in (learned_alone / 'table.txt').read_text()
  rows = json.loads((learned_alone / 'results.json').read_text())
  assert {row['optimizer'] for row in rows if 'seen_classes' in row} == {'l3rs'}
  path = learned_alone / 'optimizer.safetensors'
  assert all(row['seen_classes'] == 15 for row in l2o.read(path).card['results'])
  # Its card tells a later run, where the same classes are dealt out.
  later = tiny(**{'meta_train.num_generations': 0})
  later['rule'] = {'name': 'artifact', 'path': str(path)}
  pipeline.build(later)
  with pytest.raises(InputError, match='meta-training of optimizer had seen'):
    pipeline.build(set_key(later, 'meta_evaluate.experiments.A.classes', 'meta_train'))


def test_learned_optimizers_alone_are_tabled(learned_alone):
  text = (learned_alone / 'table.txt').read_text()
  assert 'untrained' in text
  assert 'Speed-up' not in text
  assert not (learned_alone / 'figures' / 'speedup.png').exists()


def test_a_config_without_a_source_is_refused(tmp_path):
  with pytest.raises(InputError, match='sources is empty'):
    pipeline.build(tiny(sources={}))


def test_a_card_lists_the_classes_of_meta_training_though_no_split_has_them():
  config = set_key(tiny(), 'meta_train.classes', 'all')
  plan = pipeline.build(set_key(config, 'meta_evaluate.allow_seen_classes', True))
  assert len(plan.classes['glyphs']['all']) == 62


def test_a_dict_is_no_config():
  with pytest.raises(InputError, match='must return a ConfigDict'):
    common.freeze({'seed': 0})

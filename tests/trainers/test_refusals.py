"""What a run cannot do is said in one sentence, before anything is written."""

import pathlib

import pytest

from l2o.errors import InputError, RunError
from tests.tiny_run import execute, tiny

START = {'source': 'glyphs', 'classes': 'pretrain'}


@pytest.fixture(autouse=True)
def no_idx_folder(monkeypatch):
  monkeypatch.delenv('L2O_IDX_DIR', raising=False)


def test_no_finite_candidate_stops_the_run_with_the_generation(tmp_path):
  config = tiny()
  config['rule'] = config['rule'] | {'log_step_norm': 200.0}  # exp(200) overflows
  with pytest.raises(RunError, match='no candidate of generation 1 ended with a finite loss'):
    execute(config, tmp_path / 'lost')


def test_a_loss_that_is_not_finite_stops_pretraining(tmp_path):
  config = tiny(**{'pretrain.rule.learning_rate': 1e30})
  with pytest.raises(RunError, match=r'pretraining: the loss of step .* is not finite'):
    execute(config, tmp_path / 'lost')


@pytest.mark.parametrize(
  ('key', 'value', 'says'),
  [
    ('estimator.population', 31, 'population must be even and at least 2, not 31'),
    ('class_split.glyphs.pretrain', 40, 'class_split.glyphs asks for 71 classes'),
    ('class_split.glyphs', {'meta_test': 5}, "no part of class_split.glyphs 'pretrain'"),
    ('pretrain.starts.main.classes', 'pre', "no part of class_split.glyphs 'pre'"),
    ('pretrain.starts.main', {'source': 'glyphs'}, 'pretrain.starts.main needs classes'),
    ('meta_evaluate.experiments.A.start', 'rand', "no start 'rand'.*choose from main, random"),
    ('meta_train.min_steps', 0, 'meta_train.min_steps must be at least 1, not 0'),
    ('meta_evaluate.num_steps', (10, 0), r'meta_evaluate.num_steps\[1\] must be at least 1, not 0'),
    ('meta_evaluate.num_tasks', 1, 'meta_evaluate.num_tasks must be at least 2'),
    ('meta_train.num_generations', -1, 'meta_train.num_generations must be at least 0'),
    (
      'model.name',
      'transformer',
      "no model 'transformer'; choose from .*lane_keeping, lstm, ltc, mlp, neural_ode, resnet",
    ),
    ('rule.name', 'vela', "no rule 'vela'"),
    ('rule.directions', ('sgd', 'adem'), "no direction 'adem'"),
    (
      'sources.glyphs.name',
      'idx',
      "data set idx has no 'per_font', 'seed'; it takes split, folder",
    ),
    (
      'sources.glyphs',
      {'name': 'idx'},
      'set its `folder` in the config or the variable L2O_IDX_DIR',
    ),
    ('meta_train.source', 'mnist', "no source 'mnist'; choose from glyphs"),
    ('meta_evaluate.experiments.A.classes', 'test', "'test'.*choose from all, meta_test"),
    (
      'meta_train.mesh.population',
      99,
      'meta_train.mesh: population 99 x data 1 x model 1 needs 99 devices',
    ),
    ('meta_train.mapping', 'parallel', 'choose from auto, sequential, vectorized'),
    ('meta_evaluate.baselines.sgd_constant.rule.schedule', 'cubic', "no schedule 'cubic'"),
    ('pretrain.num_steps', 0, 'pretrain.num_steps must be at least 1, not 0'),
    ('pretrain.rule.learning_rate', 0.0, 'learning_rate must be .*above 0'),
    ('pretrain.batch_size', 10**6, 'pretrain.batch_size must be 1 to'),
    ('meta_train.optimizer.schedule.every', 0, 'every must be above 0'),
    ('meta_train.optimizer.name', 'adma', "no optimizer of optax 'adma'.*did you mean"),
    ('meta_train.optimizer.b1', 2.0, r'b1 must be at least 0 and below 1'),
    ('meta_train.optimizer.beta', 0.5, "meta-optimizer adam has no 'beta'"),
    ('meta_evaluate.num_steps', (5, 5), 'list at least one horizon, and each only once'),
    ('meta_evaluate.num_steps', (2.5, 5.0), r'num_steps\[0\] must be a whole number of at least 1'),
    ('meta_evaluate.num_steps', (), 'list at least one horizon, and each only once'),
    ('meta_evaluate.experiments', {}, 'meta_evaluate.experiments must name at least one'),
    ('meta_evaluate.baselines', {}, 'meta_evaluate.baselines must name at least one'),
    ('model.features', (0,), r'features\[0\] must be at least 1, not 0'),
    ('model', {'name': 'resnet', 'features': (4,), 'blocks': (1, 1)}, 'blocks must have one'),
    ('seed', -1, 'seed must be at least 0, not -1'),
    ('cpu_devices', 10**5, 'cpu_devices must be at least 1 and at most 256'),
    ('keep_checkpoints', 0, 'keep_checkpoints must be at least 1'),
    ('log_every_secs', 0.0, 'log_every_secs must be above 0'),
    (
      'sources.glyphs.per_font',
      0,
      'data set glyphs: per_font must be at least 1',
    ),
    ('pretrain.starts', {'second': START}, "no start 'main'; choose from second"),
    ('rule', {'name': 'artifact', 'path': 'none'}, "no optimizer in the zoo 'none'"),
    ('meta_evaluate.baselines.sgd_constant', {'rule': {'name': 'l4rs'}}, "no rule 'l4rs'"),
    ('episodes.num_ways', 16, 'episodes.num_ways must be 1 to 15, the classes of meta_train'),
  ],
)
def test_bad_input_is_refused_before_anything_is_written(key, value, says, tmp_path):
  config = tiny()
  block = config
  *path, last = key.split('.')
  for part in path:
    block = block[part]
  assert last in block or path == ['meta_train', 'optimizer']
  block[last] = value
  with pytest.raises(InputError, match=says):
    execute(config, tmp_path / 'run')
  assert not pathlib.Path(tmp_path / 'run').exists()

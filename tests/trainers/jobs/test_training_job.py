"""The job behind main.py: its parts fit, one may start from another, and what it leaves."""

import json
import shutil

import jax
import numpy as np
import pytest

from checkpoints import Checkpoints
from configs import common
from l2o.errors import InputError, RunError
from reports import records
from reports.results import read_lines
from tests.pictures import is_drawn
from trainers import run
from trainers.harness.folder import MODEL, PICTURE, RECORDS, Folder
from trainers.jobs import sweep, training_job
from trainers.resources import saved_model
from trainers.stages import training

SGD = {'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': 0.1}
ADAM = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 0.1}


def config(**changes):
  c = common.train_base()
  c.task = {'name': 'regression'}
  c.model = {'name': 'lstm', 'num_outputs': 1, 'features': 4}
  c.batch_source = {'name': 'sines', 'num_steps': 6, 'batch_size': 4}
  c.rule = ADAM
  c.train.update(num_steps=6, log_every=2, eval_every=3)
  return common.with_diff(common.freeze(c), changes)


def test_main_runs_a_job_to_its_results_and_finds_them_again(tmp_path, capsys):
  run.run(config(), tmp_path / 'run', config(), {})
  results = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert results['final']['step'] == 6
  assert results['best']['loss'] <= results['final']['eval_loss']
  assert (tmp_path / 'run' / 'train' / 'parameters.txt').exists()
  capsys.readouterr()
  run.run(config(), tmp_path / 'run', config(), {})
  assert 'holds this run, finished' in capsys.readouterr().out


def test_a_sweep_over_optimizers_ends_in_one_table(tmp_path, capsys):
  rows = [
    common.sweep_row('adam', None, {'rule': ADAM}),
    common.sweep_row('huge', None, {'rule': SGD | {'learning_rate': 1e30}}),
  ]
  swept = config() | {'sweep': rows, 'sweep_seeds': [0, 1]}
  run.run(common.freeze(common.ConfigDict(swept)), tmp_path / 'run', config(), {})
  adam, huge = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert adam['seeds'] == 2
  assert adam['final']['std'] > 0
  assert huge['final'] is None
  assert len(huge['failed']) == 2
  assert 'the loss of step' in (tmp_path / 'run' / 'table.txt').read_text()
  assert is_drawn(tmp_path / 'run' / 'figures' / 'training.png')


@pytest.mark.parametrize(
  ('key', 'value', 'says'),
  [
    ('batch_source.name', 'sinus', "no batch_source 'sinus'.*mean 'sines'"),
    ('batch_source.batch_size', 0, 'batch_source sines: batch_size must be at least 1'),
    ('model', {'name': 'siren', 'features': 3}, 'do not fit together'),
    ('train.nonfinite', {'name': 'increase_steps', 'factor': 1.0}, 'factor must be above 1'),
    ('train.mesh', {'data': 3}, 'train.mesh.data = 3 does not divide a batch of 4'),
    ('train.num_steps', 0, 'train.num_steps must be at least 1'),
    ('rule', {'name': 'lgl2o', 'hand_designed': SGD}, 'needs learned'),
  ],
)
def test_what_a_job_cannot_do_is_said_before_anything_is_written(tmp_path, key, value, says):
  with pytest.raises(InputError, match=says):
    run.run(config(**{key: value}), tmp_path / 'run', config(), {})
  assert not (tmp_path / 'run').exists()


def test_lgl2o_without_comparisons_is_refused_with_the_remedy(tmp_path):
  rule = {'name': 'lgl2o', 'hand_designed': SGD, 'learned': SGD}
  with pytest.raises(InputError, match='value_fn'):
    run.run(config(**{'rule': rule, 'train.comparisons': 0}), tmp_path / 'run', config(), {})


def images(**changes):
  c = common.train_base()
  c.batch_source = {
    'name': 'images', 'source': {'name': 'digits', 'size': 8}, 'split': {'old': 6, 'new': 4},
    'classes': 'old', 'batch_size': 8, 'num_evaluated': 20,
  }  # fmt: skip
  c.model = {'name': 'mlp', 'num_classes': 6, 'features': (8,)}
  c.task = {'name': 'classification'}
  c.rule = ADAM
  c.train.update(num_steps=4, log_every=2, eval_every=2)
  return common.with_diff(common.freeze(c), changes)


ASTRAY = SGD | {'learning_rate': 30.0}
NEW = {'batch_source.classes': 'new', 'model.num_classes': 4}


@pytest.fixture(scope='module')
def ended(tmp_path_factory):
  """A job on the old classes that went astray after its first evaluation."""
  folder = tmp_path_factory.mktemp('ended') / 'run'
  run.run(images(rule=ASTRAY), folder, images(), {})
  return folder


def test_a_job_leaves_its_best_model(ended):
  rows = read_lines(ended / 'train' / 'metrics.jsonl')
  losses = {row['step']: row['eval_loss'] for row in rows if 'eval_loss' in row}
  best = min(losses, key=losses.get)
  assert best == 2  # of 2 and 4: the last model is another
  built = training_job.build(images(rule=ASTRAY))
  like = training.prepare(built.plan).state.inner
  kept, _ = Checkpoints(ended / 'train' / 'best').restore_or(like)
  params, _ = saved_model.load(ended)
  jax.tree.map(np.testing.assert_array_equal, params, kept.params)
  results = json.loads((ended / 'results.json').read_text())
  table = records.read(ended / RECORDS, '').set_index(['measure', 'K'])['value']
  assert table[[('best/loss', results['best']['step'])]].item() == results['best']['loss']
  for row in rows:
    for name in row.keys() - {'step'}:
      assert table[[(name, row['step'])]].item() == row[name]
  found = built.plan.task.evaluate(params, {}, built.batch_source.test)
  assert results['test'] == pytest.approx({name: float(x) for name, x in found.items()})


def test_another_job_starts_from_it_with_a_fresh_head(ended):
  plan = training_job.build(images(**NEW, start=str(ended))).plan
  params, _ = saved_model.load(ended)
  began = training.prepare(plan).state.inner.params
  np.testing.assert_array_equal(began['Dense_0']['kernel'], params['Dense_0']['kernel'])
  assert began['head']['kernel'].shape[-1] == 4
  scratch = training_job.build(images(**NEW)).plan
  other = training.prepare(scratch).state.inner.params
  np.testing.assert_array_equal(began['head']['kernel'], other['head']['kernel'])
  assert np.any(began['Dense_0']['kernel'] != other['Dense_0']['kernel'])


def test_what_no_job_can_start_from_is_refused(ended, tmp_path):
  for start, changes, says in [
    (tmp_path, {}, 'holds no training job that has ended'),
    (
      ended,
      {'model.features': (5,)},
      r'start has float32\[8\] at params/Dense_0/bias, but the model here has float32\[5\]',
    ),
    (ended, {'model.features': ()}, 'params/Dense_0/bias, but the model here has nothing'),
    (ended, {'seed': 1}, 'so that classes of the one may be in the other'),
    (ended, {'batch_source.split': {'new': 4, 'old': 5}}, 'so that classes of the one may'),
    (
      ended,
      {
        'batch_source.source': {'name': 'digits', 'size': 8, 'validation': 0.3},
        'batch_source.split': {'new': 4, 'old': 5},
      },
      'so that classes of the one may',
    ),
    (ended, {'model.num_classes': 5}, 'model.num_classes must be 4'),
  ]:
    with pytest.raises(InputError, match=says):
      run.run(
        images(**(NEW | changes), start=str(start.absolute())), tmp_path / 'run', images(), {}
      )
  damaged = tmp_path / 'damaged'
  shutil.copytree(ended, damaged)
  (damaged / MODEL).write_bytes((ended / MODEL).read_bytes()[:-9])
  with pytest.raises(InputError, match='is damaged'):
    training_job.build(images(**NEW, start=str(damaged)))


def test_the_rows_of_a_sweep_start_from_the_job_of_their_seed(tmp_path):
  rows = [common.sweep_row('adam', None, {'rule': ADAM}), common.sweep_row('sgd', None, {})]
  first = common.sweep_row('before', None, {'batch_source.classes': 'old', 'model.num_classes': 6})
  settings = {'sweep': rows, 'sweep_seeds': (0, 3), 'first': [first]}
  swept = common.freeze(common.ConfigDict(images(**NEW) | settings))
  run.run(swept, tmp_path, images(), {})
  for name in ('adam', 'sgd'):
    for seed in (0, 3):
      config = json.loads((tmp_path / name / f'seed_{seed}' / 'config.json').read_text())
      assert config['start'] == f'../../before/seed_{seed}'
      assert config['batch_source']['classes'] == 'new'
  table = (tmp_path / 'table.txt').read_text()
  assert '| accuracy | test accuracy |' in table
  assert 'before' not in table
  assert is_drawn(tmp_path / 'figures' / 'accuracy.png')
  (tmp_path / 'moved').mkdir()
  for part in [path for path in tmp_path.iterdir() if path.name != 'moved']:
    part.rename(tmp_path / 'moved' / part.name)
  run.run(swept, tmp_path / 'moved', images(), {})  # finds all rows done
  assert (tmp_path / 'moved' / 'table.txt').read_text() == table
  with pytest.raises(InputError, match='first is a job that runs before the rows of a sweep'):
    training_job.build(swept | {'sweep': []})


def swept(config, folder, runner):
  sweep.run(config, Folder(folder), runner, lambda config, folder: None, default={}, overrides={})


def test_a_first_job_that_fails_fails_the_rows_of_its_seed_alone(tmp_path):
  started = []

  def runner(changed, where, default, overrides):
    started.append((where.path.parent.name, changed['seed'], changed['start']))
    if where.path.parent.name == 'before' and changed['seed'] == 0:
      raise RunError('no finite loss')
    final, best = {'step': 1, 'eval_loss': 2.0}, {'step': 1, 'loss': 2.0}
    results = {'final': final, 'best': best, 'test': None}
    known = {'optimizer': 'adam', 'hand_designed': True, 'seed': changed['seed']}
    where.write(RECORDS, records.pack(records.of_job([], results, **known)))

  rows = [common.sweep_row('adam', None, {}), common.sweep_row('scratch', None, {'start': ''})]
  settings = {'sweep': rows, 'sweep_seeds': [0, 3], 'first': [common.sweep_row('before', None, {})]}
  swept(images() | settings, tmp_path, runner)
  assert started[2:] == [('adam', 3, '../../before/seed_3'), ('scratch', 3, '')]
  assert (
    'it starts from seed_0, which failed: no finite loss' in (tmp_path / 'table.txt').read_text()
  )
  for wrong in ({'first': settings['first'] * 2}, {'first': rows[:1]}):
    with pytest.raises(InputError, match='first'):
      swept(images() | settings | wrong, tmp_path / 'no', runner)


def test_a_network_s_picture_lies_beside_the_original(tmp_path):
  c = common.train_base()
  c.batch_source = {'name': 'photograph', 'crop': 6, 'batch_size': 4}
  c.model = {'name': 'siren', 'features': 4, 'num_outputs': 3, 'num_layers': 2}
  c.task = {'name': 'regression', 'peak': 2.0}
  c.rule = ADAM
  c.train.update(num_steps=2, log_every=1, eval_every=2)
  c.sweep = [common.sweep_row('adam', None, {'rule': ADAM})]
  run.run(common.freeze(c), tmp_path, {}, {})
  where = tmp_path / 'adam' / 'seed_0'
  with np.load(where / PICTURE) as arrays:
    target, output = arrays['target'], arrays['output']
  assert target.shape == output.shape == (6, 6, 3)
  results = json.loads((where / 'results.json').read_text())
  error = np.mean((output - target) ** 2)
  assert results['best']['loss'] == pytest.approx(error, rel=1e-4)
  assert results['best']['psnr'] == pytest.approx(10 * np.log10(4 / error), rel=1e-4)
  assert is_drawn(tmp_path / 'figures' / 'pictures.png')


def test_batch_statistics_go_with_the_model(tmp_path):
  state = {'batch_stats': {'norm': {'mean': np.array([0.5, -1.0], np.float32)}}}
  saved_model.save(Folder(tmp_path), {'w': np.ones(3, np.float32)}, state)
  (tmp_path / 'results.json').write_text('{}')
  params, held = saved_model.load(Folder(tmp_path))
  np.testing.assert_array_equal(params['w'], np.ones(3))
  np.testing.assert_array_equal(held['batch_stats']['norm']['mean'], [0.5, -1.0])


def test_a_best_model_that_is_damaged_is_not_replaced_by_another(ended, tmp_path):
  shutil.copytree(ended / 'train', tmp_path / 'train')
  for path in (tmp_path / 'train' / 'best').rglob('*'):
    if path.is_file():
      path.write_bytes(b'')
  last = training.prepare(training_job.build(images(rule=ASTRAY)).plan).state
  with pytest.raises(RunError, match='is damaged, so the best model cannot be restored'):
    training.best(Folder(tmp_path / 'train'), last)


def test_an_evaluation_that_is_not_finite_is_told_and_written(tmp_path):
  rows = [common.sweep_row('lost', None, {'rule': SGD | {'learning_rate': 1e38}})]
  c = config(**{'train.num_steps': 1}) | {'sweep': rows}
  run.run(c, tmp_path, config(), {})
  (row,) = json.loads((tmp_path / 'results.json').read_text())
  assert row['final'] is None
  assert '| lost | 1 | not finite | not finite |' in (tmp_path / 'table.txt').read_text()


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'task': {'name': 'classification'}}, 'needs image_shape'),
    ({'batch_source': {'name': 'photograph', 'crop': 4}, 'model': {}}, 'needs a model'),
    (
      {
        'batch_source': {'name': 'photograph', 'crop': 4, 'batch_size': 7},
        'model': {'name': 'siren', 'features': 3},
      },
      r'returns \(7, 1\) for a target of shape \(7, 3\)',
    ),
  ],
)
def test_parts_that_do_not_fit_are_refused(changes, says):
  with pytest.raises(InputError, match=says):
    training_job.build(config(**changes))

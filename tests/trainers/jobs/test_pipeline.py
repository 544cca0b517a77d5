"""The main job, small: its stages agree, repeat themselves bit for bit, and stop when they must."""

import collections
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import datasets
import l2o
from checkpoints import Checkpoints
from configs import common
from datasets.splits import split_classes
from l2o.inner.rollout import run_episode, start_episodes
from l2o.optax_optimizers import meta_optimizer
from l2o.types import TaskBatch
from reports import records
from reports.results import read_lines
from tests.pictures import is_drawn
from tests.problems import quadratic_task
from tests.tiny_run import CONFIG, SGD, KilledError, execute, tiny
from trainers.checks import blocks
from trainers.harness import stage
from trainers.harness.folder import RECORDS, Folder
from trainers.harness.stage import Options
from trainers.jobs import pipeline
from trainers.resources import meshes
from trainers.stages import meta_training, pretraining, training
from trainers.stages.meta_training import draw


def files(folder):
  """Every array and number a run left that must repeat."""
  found = {'results': json.loads((folder / 'results.json').read_text())}
  for part in ('pretrain', 'meta_train', 'meta_evaluate'):
    found[part] = (folder / part / 'metrics.jsonl').read_text()
  found['records'] = (folder / RECORDS).read_bytes()
  with np.load(folder / 'meta_evaluate' / 'trace.npz') as arrays:
    found |= {f'trace/{key}': arrays[key].tolist() for key in arrays}
  return found


def measured(folder, experiment, optimizer, steps, measure):
  """What each task of one cell measured, in the order of the tasks."""
  table = records.read(folder / RECORDS, '')
  table = table.assign(name=(table['optimizer'] + ' ' + table['setting']).str.strip())
  cell = {'experiment': experiment, 'name': optimizer, 'K': steps, 'measure': measure}
  found = table.set_index(list(cell)).loc[tuple(cell.values())].sort_values('task')
  assert found['task'].tolist() == [0, 1, 2]
  return found['value'].to_numpy()


def programs(run):
  """How often each program was compiled, by name."""
  counts = collections.Counter()

  def count(event, duration, fun_name='', **more):
    if event == '/jax/core/compile/backend_compile_duration':
      counts[fun_name] += 1

  jax.monitoring.register_event_duration_secs_listener(count)
  try:
    run()
  finally:
    jax.monitoring.unregister_event_duration_listener(count)
  return counts


def test_the_same_seed_gives_the_same_run_bit_for_bit_in_as_few_programs(finished, tmp_path):
  counts = programs(lambda: execute(CONFIG, tmp_path / 'second', drawn=False))
  again = files(tmp_path / 'second')
  assert again == files(finished)
  assert 'accuracy' in set(records.read(finished / RECORDS, '')['measure'])
  # One for pretraining, one for meta-training; one a family of evaluation, at every horizon.
  assert (counts['jit(step)'], counts['jit(measure)']) == (2, 2)


class Interrupted(Checkpoints):
  """Checkpoints of a run that is interrupted when it has saved `last`: (stage, step)."""

  last = None
  saved = None  # (stage, step) of all that were saved

  def __init__(self, folder, *arguments, **more):
    super().__init__(folder, *arguments, **more)
    self.stage = folder.parent.name

  def save(self, step, state):
    super().save(step, state)
    type(self).saved.append((self.stage, step))
    if (self.stage, step) == type(self).last:
      raise KilledError


@pytest.mark.parametrize(
  ('last', 'rest'),
  [
    (('meta_train', 2), [('meta_train', 3), *(('meta_evaluate', row) for row in (1, 2, 3, 4))]),
    pytest.param(('meta_evaluate', 3), [('meta_evaluate', 4)], marks=pytest.mark.slow),
  ],
)
def test_an_interrupted_run_repeats_nothing_and_ends_the_same(
  finished, tmp_path, monkeypatch, last, rest
):
  """It begins with a finished pretraining: what a run leaves that was ended after it."""
  folder = tmp_path / 'run'
  left_out = shutil.ignore_patterns('meta_train', 'meta_evaluate', 'results.json')
  shutil.copytree(finished, folder, ignore=left_out)
  monkeypatch.setattr(stage, 'Checkpoints', Interrupted)
  monkeypatch.setattr(Interrupted, 'saved', [])
  monkeypatch.setattr(Interrupted, 'last', last)
  with pytest.raises(KilledError):
    execute(CONFIG, folder, drawn=False)
  monkeypatch.setattr(Interrupted, 'last', None)
  Interrupted.saved.clear()
  execute(CONFIG, folder, drawn=False)
  ends = {('pretrain', 6), ('meta_train', 3)}  # asked for again, of stages that have ended
  new = [entry for entry in dict.fromkeys(Interrupted.saved) if entry not in ends - {*rest}]
  assert new == rest
  assert files(folder) == files(finished)


def test_with_batches_over_two_devices_the_run_ends_the_same_to_rounding(finished, tmp_path):
  split = {'pretrain.mesh.data': 2, 'meta_train.mesh': {'population': 2, 'data': 2}}
  folder = execute(common.with_diff(CONFIG, split), tmp_path / 'run', drawn=False)
  one, two = (l2o.read(where / 'optimizer.safetensors').theta for where in (finished, folder))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, atol=1e-5), one, two)
  for a, b in zip(*(files(where)['results'] for where in (finished, folder)), strict=True):
    assert b['loss_mean'] == pytest.approx(a['loss_mean'], rel=1e-4)
    assert b['accuracy_mean'] == pytest.approx(a['accuracy_mean'], abs=0.02)


def drawn(experiment):
  """The tasks of an experiment: three, of up to five steps."""
  tasks = experiment.tasks.sample(0, 3, 5)
  return {part: tasks[part] for part in ('train', 'evaluation')}


def test_cells_of_the_results_are_what_single_episodes_measure(finished):
  """Recomputed one episode at a time: the second learning rate, the second horizon."""
  plan = pipeline.build(tiny()).meta_evaluate
  params = stage_start(finished)
  experiment = plan.experiments[0]
  episodes = start_episodes(plan.task, jax.random.key(plan.seed), params, drawn(experiment))
  run = alone(plan.task, jax.tree.map(jnp.asarray, experiment.stores))
  for rate in (0.1, 0.01):
    expected = measured(finished, 'A', f'sgd_constant {rate:g}', 5, 'loss')
    for t in range(3):
      got = run(rate, jax.tree.map(lambda x, t=t: jnp.asarray(x)[t], episodes))
      np.testing.assert_allclose(got['loss'], expected[t], rtol=1e-4)


def alone(task, images):
  """(learning rate, episode) -> what five steps of SGD by themselves measure."""
  rule = l2o.rule('hand_designed', optimizer='sgd')

  def run(rate, episode):
    tasks = TaskBatch(episode, images, jnp.int32(5))
    return run_episode(rule, task, {'learning_rate': jnp.float32(rate)}, episode, tasks)

  return jax.jit(run)


def test_every_experiment_looks_up_its_own_images(tmp_path):
  """A cell of B recomputed on digits; A's images at the same positions would give another."""
  few = {'meta_train.num_generations': 0, 'meta_evaluate.num_steps': (5,)}
  config = tiny(rule=SGD, **few)
  config['sources']['digits'] = {'name': 'digits', 'seed': 0}
  config['meta_evaluate']['experiments']['B'] = {
    'source': 'digits', 'classes': 'all', 'start': 'main',
  }  # fmt: skip
  folder = execute(config, tmp_path / 'run', drawn=False)
  plan = pipeline.build(config).meta_evaluate
  key, draw_b = jax.random.key(plan.seed), drawn(plan.experiments[1])
  episodes = start_episodes(plan.task, key, stage_start(folder), draw_b)
  episode = jax.tree.map(lambda x: jnp.asarray(x)[0], episodes)
  images = {
    part: {'image': jnp.asarray(datasets.load({'name': 'digits'}, split).arrays()['image'])}
    for part, split in (('train', 'train'), ('evaluation', 'validation'))
  }
  got = alone(plan.task, images)(0.1, episode)
  expected = measured(folder, 'B', 'sgd_constant 0.1', 5, 'loss')[0]
  np.testing.assert_allclose(got['loss'], expected, rtol=1e-4)


def stage_start(folder):
  """The pretrained network of a run, from its checkpoint."""
  plan = pipeline.build(tiny()).pretrain['main']
  start = training.prepare(plan).state
  state, step = Checkpoints(folder / 'pretrain' / 'checkpoints').restore_or(start)
  assert step == plan.num_steps
  return state.inner.params, state.inner.model_state


def test_pretraining_hands_over_the_parameters_that_are_evaluated(tmp_path):
  rule = {'name': 'hand_designed', 'optimizer': 'schedule_free_adamw'}
  plan = pipeline.build(tiny(**{'pretrain.rule': rule})).pretrain['main']
  params, _ = pretraining.run(plan, Folder(tmp_path), Options(60.0, 60.0, 1))
  start = training.prepare(plan).state
  inner = Checkpoints(tmp_path / 'checkpoints').restore_or(start)[0].inner
  expected = plan.rule.eval_params(inner.opt_state.inner, inner.params)
  for got, want, trained in zip(
    *map(jax.tree.leaves, (params, expected, inner.params)), strict=True
  ):
    np.testing.assert_array_equal(got, want)
    assert np.any(got != trained)


def test_each_stage_draws_from_its_own_classes_and_images():
  plan = pipeline.build(tiny())
  parts = split_classes(62, CONFIG['class_split']['glyphs'], seed=0)
  source = datasets.load(CONFIG['sources']['glyphs'], 'train')
  labels = np.array([source[i].label for i in range(len(source))])
  batch = plan.pretrain['main'].sample(0)
  assert set(labels[batch['index']]) <= set(parts['pretrain'])
  generation, _ = draw(plan.meta_train, 0)
  assert set(labels[generation['train']['index'].ravel()]) <= set(parts['meta_train'])
  unseen = drawn(plan.meta_evaluate.experiments[0])
  assert set(labels[unseen['train']['index'].ravel()]) <= set(parts['meta_test'])
  first = source.arrays()['image'][:5]
  np.testing.assert_array_equal(plan.meta_train.stores['train']['image'][:5], first)


def test_the_step_on_theta_halves_every_500_generations_exactly():
  halving = {'name': 'halving', 'every': 500}
  optimizer = meta_optimizer('adam', learning_rate=0.02, schedule=halving)
  grad = jnp.array([2.0, -3.0])
  state = optimizer.init(grad)
  sizes = {}
  step = jax.jit(optimizer.update)
  for generation in range(1001):
    update, state = step(grad, state)
    sizes[generation] = np.abs(update)
  np.testing.assert_allclose(sizes[0], 0.02, rtol=1e-4)
  np.testing.assert_allclose(sizes[500], 0.01, rtol=1e-4)
  np.testing.assert_allclose(sizes[1000], 0.005, rtol=1e-4)


class Slopes:
  """In the place of a TaskSampler: two quadratic tasks without a slope, in every draw."""

  def sample(self, number, count, longest):
    slope = np.zeros((count, longest, 5), np.float32)
    return {'train': {'slope': slope}, 'evaluation': {'slope': slope[:, 0]}}


def test_meta_training_descends_the_meta_loss(tmp_path):
  """On quadratics, from a start where the best learning rate is far away."""
  spec = blocks.MetaTrain(
    source='', classes='', start='', num_generations=12, meta_batch=2, min_steps=4, max_steps=4,
    optimizer={'name': 'adam', 'learning_rate': 0.05},
    mapping='sequential', task_mapping='sequential', mesh={},
  )  # fmt: skip
  plan = meta_training.MetaTrain(
    task=quadratic_task(),
    rule=l2o.rule('hand_designed', optimizer='sgd', learning_rate=0.05),
    estimator={'name': 'nes', 'population': 16, 'sigma': 0.02},
    spec=spec,
    tasks=Slopes(),
    stores={'train': {}, 'evaluation': {}},
    host=None,
    mesh=meshes.make_mesh(),
    seed=3,
  )
  counts = programs(lambda: meta_training.run(plan, (), Folder(tmp_path), Options(60.0, 60.0, 1)))
  losses = [row['loss'] for row in read_lines(tmp_path / 'metrics.jsonl')]
  assert len(losses) == 12
  assert losses[-1] < 0.3 * losses[0]
  assert counts['jit(step)'] == 1


def test_results_have_a_row_for_every_optimizer_and_horizon(finished):
  rows = json.loads((finished / 'results.json').read_text())
  seen = [(r['experiment'], r['optimizer'], r['num_steps']) for r in rows]
  optimizers = ['l3rs', 'sgd_constant 0.1', 'sgd_constant 0.01']
  assert sorted(seen) == sorted(('A', name, steps) for name in optimizers for steps in (2, 5))
  for row in rows:
    values = measured(finished, 'A', row['optimizer'], row['num_steps'], 'accuracy')
    np.testing.assert_allclose(row['accuracy_mean'], values.mean())
    np.testing.assert_allclose(row['accuracy_std'], values.std())
    assert row['tasks'] == len(values) == 3
    assert row['hand_designed'] == ('l3rs' not in row['optimizer'])


def test_what_was_meta_trained_is_evaluated_the_same_when_it_comes_from_the_file(
  finished, tmp_path
):
  """No generation of meta-training, beside an L3RS that has learned nothing."""
  path = finished / 'optimizer.safetensors'
  config = tiny(**{'meta_train.num_generations': 0})
  config['rule'] = {'name': 'artifact', 'path': str(path)}
  config['meta_evaluate']['baselines']['untrained'] = {'rule': {'name': 'l3rs'}}
  folder = execute(config, tmp_path / 'again')
  rows = {
    (row['optimizer'], row['num_steps']): row
    for row in json.loads((folder / 'results.json').read_text())
  }
  for row in json.loads((finished / 'results.json').read_text()):
    if row['optimizer'] == 'l3rs':
      again = rows[path.stem, row['num_steps']]
      assert again['accuracy_mean'] == row['accuracy_mean']
      assert again['loss_mean'] == row['loss_mean']
      assert rows['untrained', row['num_steps']]['loss_mean'] != row['loss_mean']
      assert not rows['untrained', row['num_steps']]['hand_designed']
  held = l2o.read(folder / 'optimizer.safetensors')
  assert held.spec == l2o.read(path).spec
  assert held.card['revision']
  assert {r['num_steps'] for r in held.card['results']} == {2, 5}
  assert not (folder / 'figures' / 'meta_training.png').exists()


def test_a_run_leaves_what_it_is_and_what_it_did(finished):
  for name in (
    'config.json', 'overrides.json', 'diff.txt', 'versions.json', 'table.txt',
    'pretrain/parameters.txt', 'meta_train/parameters.txt', 'meta_train/metrics.jsonl',
    'optimizer.safetensors',
  ):  # fmt: skip
    assert (finished / name).stat().st_size > 0, name
  for name in ('accuracy', 'speedup', 'meta_training', 'mixture'):
    assert is_drawn(finished / 'figures' / f'{name}.png'), name


def test_a_trace_holds_the_mixture_of_every_step_and_layer(finished):
  with np.load(finished / 'meta_evaluate' / 'trace.npz') as trace:
    assert trace['mu/sgd'].shape == (2, 5, 4)
    np.testing.assert_allclose(trace['mu/sgd'] + trace['mu/adam'], 1.0, rtol=1e-5)
    assert np.all(trace['lambda'] > 0)
    assert trace['layers'][-1] == 'head/kernel'


def test_a_finished_run_says_so_and_computes_nothing(finished, capsys, monkeypatch):
  monkeypatch.setattr(pipeline, 'run', None)
  execute(CONFIG, finished)
  assert 'holds this run, finished' in capsys.readouterr().out


def test_another_seed_is_another_run():
  a, b = pipeline.build(tiny()), pipeline.build(tiny(seed=1))
  draws = [draw(plan.meta_train, 0)[0]['train']['index'] for plan in (a, b)]
  assert np.any(draws[0] != draws[1])


def test_horizons_are_drawn_between_their_bounds():
  plan = pipeline.build(tiny()).meta_train
  horizons = {int(draw(plan, g)[1]) for g in range(100)}
  assert horizons == {1, 2, 3, 4, 5}

"""The training job: what it computes, that it goes on, what it keeps and when it stops."""

import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import l2o
from checkpoints import Checkpoints
from l2o.errors import InputError, RunError
from l2o.types import Task
from reports.results import read_lines
from tests.problems import CENTRE, quadratic_loss, quadratic_task
from tests.tiny_run import KilledError
from trainers.harness import stage
from trainers.harness.folder import Folder
from trainers.resources import meshes
from trainers.stages import reinit, training

SGD = {'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': 0.1}
ADAM = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 0.1}
OPTIONS = stage.Options(log_every_secs=60.0, checkpoint_every_secs=60.0, keep_checkpoints=2)
SAVING = OPTIONS._replace(checkpoint_every_secs=0.0)  # after each step


def slopes(number):
  return {'slope': np.random.default_rng(number).normal(0.0, 0.3, 8).astype(np.float32)}


def plan(**changes):
  settings = {
    'name': 'train',
    'task': quadratic_task(),
    'rule': l2o.rule(**SGD),
    'theta': None,
    'sample': slopes,
    'fresh': None,
    'store': {},
    'evaluation': {'slope': np.zeros(8, np.float32)},
    'num_steps': 12,
    'log_every': 1,
    'eval_every': 4,
    'mesh': meshes.make_mesh(),
    'placement': (),
    'policy': reinit.stop(),
    'seed': 3,
    'start': None,
    'remedy': 'change rule',
  }
  return training.Train(**(settings | changes))


def descended(num_steps):
  """What gradient descent at 0.1 comes by, [num_steps + 1], and the losses there."""
  points, losses = [quadratic_task().init(jax.random.fold_in(jax.random.key(3), 0))[0]['w']], []
  for k in range(num_steps):
    slope = np.array([slopes(k)['slope'].mean(), 0, 0])
    losses.append(quadratic_loss(points[-1]) + slope @ points[-1])
    points.append(points[-1] - 0.1 * (jax.grad(quadratic_loss)(points[-1]) + slope))
  return points, losses


def test_it_is_gradient_descent_on_the_sampled_batches(tmp_path):
  built = plan()
  state = training.run(built, Folder(tmp_path), OPTIONS).state
  points, losses = descended(12)
  np.testing.assert_allclose(training.trained(built, state.inner)[0]['w'], points[-1], rtol=1e-5)
  rows = [row for row in read_lines(tmp_path / 'metrics.jsonl') if 'loss' in row]
  np.testing.assert_allclose([row['loss'] for row in rows], losses, rtol=1e-5)
  np.testing.assert_allclose([row['effective_learning_rate'] for row in rows], 0.1, rtol=1e-5)


def test_it_evaluates_on_time_and_keeps_the_best(tmp_path):
  """A step that is too long goes away from the minimum: the first evaluation is the best."""
  rule = l2o.rule(**SGD | {'learning_rate': 1.2})
  training.run(plan(rule=rule, num_steps=10), Folder(tmp_path), OPTIONS)
  seen = [row for row in read_lines(tmp_path / 'metrics.jsonl') if 'eval_loss' in row]
  assert [row['step'] for row in seen] == [4, 8, 10]
  assert seen[0]['eval_loss'] < seen[1]['eval_loss'] < seen[2]['eval_loss']
  best = json.loads((tmp_path / 'best.json').read_text())
  assert best == {'step': 4, 'loss': seen[0]['eval_loss']}
  short = plan(rule=rule, num_steps=4)
  state = training.run(short, Folder(tmp_path / 'short'), OPTIONS).state
  kept, step = Checkpoints(tmp_path / 'best').restore_or(state.inner)
  assert step == 4
  np.testing.assert_array_equal(kept.params['w'], state.inner.params['w'])


@pytest.mark.parametrize(
  'policy', [pytest.param(reinit.stop(), marks=pytest.mark.slow), reinit.min_loss()]
)
def test_a_killed_job_ends_as_an_unbroken_one(tmp_path, policy):
  def dies(number):
    if number == 7:
      raise KilledError
    return slopes(number)

  rule = l2o.rule(**ADAM)
  unbroken = training.run(plan(rule=rule, policy=policy), Folder(tmp_path / 'a'), SAVING).state
  with pytest.raises(KilledError):
    training.run(plan(rule=rule, policy=policy, sample=dies), Folder(tmp_path / 'b'), SAVING)
  resumed = training.run(plan(rule=rule, policy=policy), Folder(tmp_path / 'b'), SAVING).state
  jax.tree.map(np.testing.assert_array_equal, resumed, unbroken)
  for name in ('metrics.jsonl', 'best.json'):
    assert (tmp_path / 'a' / name).read_text() == (tmp_path / 'b' / name).read_text()


def fragile_task(edge):
  """The quadratic, whose loss is lost where w[0] is above `edge`."""
  task = quadratic_task()

  def loss(params, model_state, key, batch):
    value, aux = task.loss(params, model_state, key, batch)
    return jnp.where(params['w'][0] > edge, jnp.nan, value), aux

  return Task(task.init, loss, task.evaluate)


def test_a_lost_loss_stops_with_the_step(tmp_path):
  lost = next(k for k, w in enumerate(descended(12)[0], start=1) if w[0] > 0.95)
  with pytest.raises(RunError, match=f'train: the loss of step {lost} is not finite; change rule'):
    training.run(plan(task=fragile_task(0.95)), Folder(tmp_path), OPTIONS)


@pytest.mark.parametrize('policy', [reinit.increase_steps(2.0), reinit.min_loss()])
def test_a_policy_goes_on_from_a_sound_state(tmp_path, policy):
  still = {'slope': np.zeros(8, np.float32)}
  built = plan(task=fragile_task(0.95), policy=policy, sample=lambda number: still, num_steps=20)
  state = training.run(built, Folder(tmp_path), OPTIONS).state
  rows = [row for row in read_lines(tmp_path / 'metrics.jsonl') if 'loss' in row]
  lost = [row['loss'] is None for row in rows]
  assert sum(lost) == int(state.kept.restarts) == rows[-1]['restarts'] > 2
  assert np.isfinite(state.kept.loss)
  assert not any(a and b for a, b in itertools.pairwise(lost))  # sound after each
  factor = 2.0 if policy.factor == 2.0 else 1.0
  assert float(state.kept.num_steps) == 20 * factor ** sum(lost)


def test_min_loss_keeps_the_lowest_and_increase_steps_the_last():
  inner = [training.InnerState({'w': jnp.array([float(k)])}, {}, ()) for k in range(5)]
  losses = [3.0, 1.0, 2.0, math.nan]
  for policy, wanted in ((reinit.min_loss(), 1.0), (reinit.increase_steps(), 2.0)):
    kept = policy.init(inner[0], 10)
    for k, loss in enumerate(losses):
      after, kept = policy.apply(kept, inner[k], inner[k + 1], jnp.float32(loss))
    assert after.params['w'] == wanted
    assert kept.restarts == 1


def test_lgl2o_compares_on_other_batches(tmp_path):
  """On the batch of the gradient a large step looks good, on the others it does not."""
  rule = l2o.rule('lgl2o', hand_designed=SGD, learned=SGD | {'learning_rate': 0.9})

  def sample(number):
    return {'slope': np.full(8, 10.0 if number % 2 else -10.0, np.float32)}

  taken = {}
  for name, fresh in (('other', lambda number: sample(number + 1)), ('same', sample)):
    training.run(plan(rule=rule, sample=sample, fresh=fresh), Folder(tmp_path / name), OPTIONS)
    taken[name] = [row for row in read_lines(tmp_path / name / 'metrics.jsonl') if 'loss' in row][
      -1
    ]
  assert taken['other']['taken_hand_designed'] == 12
  assert taken['same']['taken_learned'] > 0


def test_facts_are_written_layer_by_layer(tmp_path):
  rule = l2o.rule('hub', hand_designed=ADAM, learned={'name': 'l3rs'})
  training.run(plan(rule=rule, num_steps=2), Folder(tmp_path), OPTIONS)
  row = [row for row in read_lines(tmp_path / 'metrics.jsonl') if 'loss' in row][-1]
  assert row['weight_mean/w'] == pytest.approx(1 / 3)
  assert {'learned/mu/sgd/w', 'learned/lambda/w', 'nonfinite_learned'} <= row.keys()


def matrix_task():
  """Least squares with a 4x6 matrix."""

  def init(key, pretrained=None):
    del pretrained
    return {'kernel': 0.3 * jax.random.normal(key, (4, 6)), 'bias': jnp.zeros(6)}, {}

  def loss(params, model_state, key, batch):
    del key
    out = batch['x'] @ params['kernel'] + params['bias'][None]
    return jnp.mean((out - batch['y']) ** 2), (model_state, {})

  return Task(init, loss, lambda p, s, b: {'loss': loss(p, s, None, b)[0]})


def rows_of(number):
  rng = np.random.default_rng(number)
  x = rng.normal(0.5, 1.0, (8, 4)).astype(np.float32)
  return {'x': x, 'y': np.cumsum(x, axis=1).repeat(2, axis=1)[:, :6]}


@pytest.mark.parametrize(
  'rule', [pytest.param(ADAM, marks=pytest.mark.slow), {'name': 'l3rs'}], ids=lambda s: s['name']
)
def test_sharded_over_data_and_model_it_trains_as_on_one_device(tmp_path, rule):
  """To 1e-4: sums are taken in another order."""
  settings = {'task': matrix_task(), 'rule': l2o.rule(**rule), 'sample': rows_of}
  settings['evaluation'] = rows_of(99)
  alone = training.run(plan(**settings), Folder(tmp_path / 'a'), OPTIONS).state
  settings['mesh'] = meshes.make_mesh(data=4, model=2)
  settings['placement'] = (('kernel', (None, 'model')), ('bias', ('model',)))
  split = training.run(plan(**settings), Folder(tmp_path / 'b'), OPTIONS).state
  kernel = split.inner.params['kernel']
  assert kernel.sharding.spec == jax.sharding.PartitionSpec(None, 'model')
  moments = [x for x in jax.tree.leaves(split.inner.opt_state) if x.shape == (4, 6)]
  assert moments
  assert all(x.sharding.spec == kernel.sharding.spec for x in moments)
  for name, wanted in alone.inner.params.items():
    np.testing.assert_allclose(split.inner.params[name], wanted, rtol=1e-4, atol=1e-5)


def test_a_step_leaves_the_state_where_it_was():
  """Here the compiler would spread the bias, which is replicated, and the next step differ."""
  settings = {'task': matrix_task(), 'rule': l2o.rule(**ADAM), 'sample': rows_of}
  settings |= {'mesh': meshes.make_mesh(data=4, model=2), 'evaluation': rows_of(99)}
  ready = training.prepare(plan(**settings, placement=(('kernel', (None, 'model')),)))
  places = jax.tree.map(lambda x: x.sharding, ready.state)
  state, _ = ready.step(ready.state, ready.feed(0))
  moved = jax.tree.map(
    lambda x, place: not x.sharding.is_equivalent_to(place, x.ndim), state, places
  )
  assert not any(jax.tree.leaves(moved))


@pytest.mark.parametrize(
  'mesh', [{'data': 4, 'model': 2}, pytest.param({'data': 2, 'model': 3}, marks=pytest.mark.slow)]
)
def test_a_sharded_job_that_was_killed_ends_as_an_unbroken_one_on_any_mesh(tmp_path, mesh):
  """Bit for bit where the mesh is the same, to 1e-4 on another: sums are in another order."""

  def dies(number):
    if number == 7:
      raise KilledError
    return rows_of(number)

  settings = {'task': matrix_task(), 'rule': l2o.rule(**ADAM), 'evaluation': rows_of(99)}
  settings |= {'placement': (('kernel', (None, 'model')), ('bias', ('model',)))}
  before = settings | {'mesh': meshes.make_mesh(data=4, model=2)}
  unbroken = training.run(plan(**before, sample=rows_of), Folder(tmp_path / 'a'), SAVING).state
  with pytest.raises(KilledError):
    training.run(plan(**before, sample=dies), Folder(tmp_path / 'b'), SAVING)
  after = settings | {'mesh': meshes.make_mesh(**mesh)}
  seen = []
  sample = lambda number: seen.append(number) or rows_of(number)  # noqa: E731
  resumed = training.run(plan(**after, sample=sample), Folder(tmp_path / 'b'), SAVING).state
  assert 0 not in seen[1:]  # but for the trial of shapes, it begins where it ended
  kernels = [x for x in jax.tree.leaves(resumed.inner) if x.shape == (4, 6)]
  assert len(kernels) == 3  # and Adam's two moments
  for x in kernels:
    assert x.sharding.spec == jax.sharding.PartitionSpec(None, 'model')
    assert x.sharding.mesh.shape['model'] == mesh['model']
  rtol, atol = (0, 0) if mesh['model'] == 2 else (1e-4, 1e-5)
  for got, wanted in zip(*map(jax.tree.leaves, (resumed, unbroken)), strict=True):
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
  ('placement', 'says'),
  [
    ([('kernle', (None, 'model'))], "no array of the state matches 'kernle'"),
    ([('kernel', (None, 'modle'))], "no axis of the mesh 'modle'"),
    ([('kernel', ('data', None))], r'mesh.data = 8 does not divide .*kernel of shape \(4, 6\)'),
  ],
)
def test_a_placement_that_cannot_be_is_refused(placement, says):
  mesh = meshes.make_mesh(data=8)
  with pytest.raises(InputError, match=says):
    training.check_shapes(plan(task=matrix_task(), sample=rows_of, mesh=mesh, placement=placement))


def test_the_centre_is_where_it_ends(tmp_path):
  still = {'slope': np.zeros(8, np.float32)}
  built = plan(sample=lambda number: still, num_steps=300, log_every=300, eval_every=300)
  state = training.run(built, Folder(tmp_path), OPTIONS).state
  np.testing.assert_allclose(state.inner.params['w'], CENTRE, atol=1e-3)

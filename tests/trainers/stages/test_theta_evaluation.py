"""Theta on tasks that stay the same, during meta-training."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from l2o.errors import InputError
from l2o.inner.rollout import batch_at, meta_loss, start_episodes
from l2o.inner.step import fetch
from l2o.types import TaskBatch
from tests.tiny_run import SGD, tiny
from trainers.harness.folder import Folder
from trainers.harness.stage import Options
from trainers.jobs import pipeline
from trainers.stages import meta_training, theta_evaluation

OPTIONS = Options(log_every_secs=60.0, checkpoint_every_secs=0.0, keep_checkpoints=9)
EVALUATED = {'meta_train.eval_every': 2, 'meta_train.eval_tasks': 3}
STEPS = 4


def plan(**overrides):
  config = tiny(**{
    'estimator': {'name': 'pes', 'particles': 2, 'window': 3},
    'rule': SGD,
    'meta_train.mesh': {'population': 2, 'data': 1},
    'meta_train.max_steps': STEPS,
    'meta_train.num_generations': 5,
    **overrides,
  })  # fmt: skip
  return pipeline.build(config).meta_train


def generations(built, count):
  return built._replace(spec=built.spec.__class__(**{**vars(built.spec), 'num_generations': count}))


def network(built):
  return jax.jit(built.task.init)(jax.random.key(3))


@pytest.fixture(scope='module')
def built():
  return plan(**EVALUATED)


@pytest.fixture(scope='module')
def unbroken(built, tmp_path_factory):
  """(theta, rows of the log, folder) of five generations with evaluations."""
  path = tmp_path_factory.mktemp('unbroken')
  theta = meta_training.run(built, network(built), Folder(path), OPTIONS)
  return theta, logged(path), path


def logged(path):
  return [json.loads(line) for line in (path / 'metrics.jsonl').read_text().splitlines()]


def evaluations(rows):
  return {row['step']: row for row in rows if 'eval_loss' in row}


def test_it_is_before_the_first_generation_every_so_many_and_after_the_last(unbroken):
  _, rows, _ = unbroken
  assert [*evaluations(rows)] == [0, 2, 4, 5]
  assert sum('num_steps' in row for row in rows) == 5
  losses = [row['eval_mean_loss'] for row in evaluations(rows).values()]
  assert len({*losses}) == 4  # theta moved


def test_its_values_are_those_of_sgd_by_hand(built, unbroken):
  """Of the last theta: gradient descent, written out, on the tasks of the draw."""
  theta, rows, _ = unbroken
  drawn = built.tasks.sample(theta_evaluation.DRAW, 3, STEPS)
  key = jax.random.key(meta_training.run_data.stream_seed(built.seed, 'evaluation'))
  of = {part: drawn[part] for part in ('train', 'evaluation')}
  episodes = start_episodes(built.task, key, network(built), of)
  means, lasts = [], []
  for number in range(3):
    one = jax.tree.map(lambda x, number=number: x[number], episodes)
    params, tx = one.params, built.rule.bind(theta, STEPS)
    opt_state, losses = tx.init(params), []
    for k in range(STEPS):
      batch = batch_at(one.train, built.stores['train'], k)
      loss = lambda p, b=batch: built.task.loss(p, one.model_state, one.key, b)[0]  # noqa: B023, E731
      value, grads = jax.value_and_grad(loss)(params)
      updates, opt_state = tx.update(grads, opt_state, params)
      params = optax.apply_updates(params, updates)
      losses.append(float(value))
    batch = fetch(built.stores['evaluation'], one.evaluation)
    lasts.append(float(built.task.evaluate(params, one.model_state, batch)['loss']))
    means.append(np.mean(losses))
  found = evaluations(rows)[5]
  np.testing.assert_allclose(found['eval_mean_loss'], np.mean(means), rtol=1e-4)
  np.testing.assert_allclose(found['eval_loss'], np.mean(lasts), rtol=1e-4)


def test_a_run_that_ended_resumes_bit_for_bit(built, unbroken, tmp_path):
  theta, rows, _ = unbroken
  start, folder = network(built), Folder(tmp_path)
  meta_training.run(generations(built, 4), start, folder, OPTIONS)
  resumed = meta_training.run(built, start, folder, OPTIONS)
  jax.tree.map(np.testing.assert_array_equal, resumed, theta)
  assert logged(tmp_path) == rows


def test_theta_is_the_same_without_it(unbroken, tmp_path):
  theta, rows, _ = unbroken
  built = plan()
  without = meta_training.run(built, network(built), Folder(tmp_path), OPTIONS)
  jax.tree.map(np.testing.assert_array_equal, without, theta)
  assert logged(tmp_path) == [row for row in rows if 'eval_loss' not in row]


def test_whole_episodes_can_be_measured_by_their_mean_training_loss():
  """The loss that a strategy is told: with a tiny sigma, that of theta itself."""
  block = {'name': 'full_es', 'population': 2, 'sigma': 1e-6}
  found = {}
  for objective in ('mean', 'final'):
    one = plan(**{'estimator': block, 'meta_train.objective': objective,
                  'meta_train.min_steps': STEPS})  # fmt: skip
    state, start = meta_training.init(one), network(one)
    theta = jax.tree.map(np.asarray, state.theta)
    inputs = meta_training.place(meta_training.draw(one, 0), one.mesh)
    _, metrics = meta_training.generation(one)(state, inputs, start, one.stores)
    key = jax.random.split(jax.random.fold_in(jax.random.key(one.seed), 1))[0]
    episodes = start_episodes(one.task, key, start, inputs[0])
    tasks = TaskBatch(episodes, jax.tree.map(jnp.asarray, one.stores), jnp.int32(STEPS))
    wanted = meta_loss(one.rule, one.task, objective=objective)(theta, tasks)['loss']
    np.testing.assert_allclose(metrics['loss'], wanted, rtol=1e-4)
    found[objective] = float(wanted)
  assert abs(found['mean'] - found['final']) > 0.01


def test_what_the_host_cannot_feed_is_refused():
  fed = {'estimator': {'name': 'nes', 'population': 4}, 'feed.chunk_steps': 2}
  with pytest.raises(InputError, match=r"meta_train\.objective must be 'final' where the host"):
    plan(**fed, **{'meta_train.objective': 'mean'})
  with pytest.raises(InputError, match=r'meta_train\.eval_every must be 0 where the host'):
    plan(**fed, **EVALUATED)
  with pytest.raises(InputError, match='no meta-objective'):
    plan(**{'meta_train.objective': 'meen'})

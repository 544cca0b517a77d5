"""Unrolls a rule on a task step by step, for estimators that keep its state between estimates."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from l2o.inner.rollout import batch_at, begin, measure
from l2o.inner.step import InnerState, fetch, inner_step
from l2o.types import Batch, LearnedRule, PyTree, Task, TaskBatch, Theta, Unroll


class Kept(NamedTuple):
  """An episode in progress."""

  inner: InnerState
  train: Batch  # leaves [K, B, ...]
  evaluation: Batch  # leaves [E, ...]
  num_steps: jax.Array  # [] int32, the horizon that the rule is bound for


def unroll(rule: LearnedRule, task: Task) -> Unroll:
  """Episodes from a `TaskBatch`: each starts as one of the batch's, drawn by its key, and keeps it.

  The loss of a step is the training loss before its update. Batches are kept as they are, so they
  should give their examples by position ('index').

  Args:
    rule: the optimizer.
    task: the inner problem.

  Example:
    >>> import l2o
    >>> from l2o.estimators.pes import pes
    >>> from l2o.inner.rollout import start_episodes
    >>> task = Task(
    ...   init=lambda key, pretrained=None: (jnp.array([3.0, 1.0]), {}),
    ...   loss=lambda w, state, key, batch: (jnp.sum((w - batch['x']) ** 2), (state, {})),
    ...   evaluate=lambda w, state, batch: {'loss': jnp.sum((w - batch['x']) ** 2)},
    ... )
    >>> rule = l2o.rule('hand_designed', optimizer='sgd')
    >>> draw = {'train': {'x': jnp.ones((2, 6, 2))}, 'evaluation': {'x': jnp.ones((2, 2))}}
    >>> episodes = start_episodes(task, jax.random.key(0), None, draw)
    >>> tasks = TaskBatch(episodes, {'train': {}, 'evaluation': {}}, jnp.int32(6))
    >>> theta, key = rule.init(jax.random.key(1), jnp.ones(2)), jax.random.key(2)
    >>> estimator = pes(unroll(rule, task), particles=4, window=3)
    >>> state = estimator.init(theta, key, tasks)
    >>> grad, state, metrics = jax.jit(estimator.estimate)(theta, state, key, tasks)
    >>> int(metrics['inner_steps'])  # of four pairs
    24
  """

  def init(theta: Theta, key: jax.Array, tasks: TaskBatch) -> Kept:
    number = jax.random.randint(key, (), 0, tasks.episodes.key.shape[0])
    episode = jax.tree.map(lambda leaf: leaf[number], tasks.episodes)
    num_steps = jnp.asarray(tasks.num_steps, jnp.int32)
    inner = begin(rule.bind(theta, num_steps), episode.params, episode.model_state)
    return Kept(inner, episode.train, episode.evaluation, num_steps)

  def step(
    theta: Theta, state: Kept, number: jax.Array, key: jax.Array, tasks: TaskBatch
  ) -> tuple[PyTree, jax.Array]:
    tx = rule.bind(theta, state.num_steps)
    batch = partial(batch_at, state.train, tasks.data['train'])
    fresh = partial(batch, jnp.minimum(number + 1, state.num_steps - 1))
    inner, metrics = inner_step(task, tx, state.inner, key, batch(number), fresh)
    return state._replace(inner=inner), metrics['loss']

  def evaluate(theta: Theta, state: Kept, tasks: TaskBatch) -> jax.Array:
    del theta
    evaluation = fetch(tasks.data['evaluation'], state.evaluation)
    return measure(rule, task, state.inner, evaluation)['loss']

  return Unroll(init, step, evaluate)

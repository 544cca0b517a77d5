"""The inner loop: K steps of any optimizer on one episode, as `begin`, `advance` and `measure`.

Meta-training and meta-evaluation both use it, and every step is an `inner_step`: a run of Adam and
one of a learned optimizer differ only in the transformation. With data on the device, a rollout is
one program, `run_episode`; with batches from the host, it advances chunk by chunk.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from l2o.inner.mapping import vectorized
from l2o.inner.step import InnerState, fetch, inner_step
from l2o.registry import choose
from l2o.types import (
  Batch,
  Episode,
  LearnedRule,
  MapFn,
  MetaLoss,
  Metrics,
  Params,
  PyTree,
  Start,
  Task,
  TaskBatch,
  Theta,
)

# What meta-training minimizes: the mean training loss, or a loss on evaluation data.
OBJECTIVES = ('mean', 'window_end', 'final')


def begin(
  tx: optax.GradientTransformationExtraArgs, params: Params, model_state: PyTree
) -> InnerState:
  """The state before the first step."""
  return InnerState(params, model_state, tx.init(params))


def advance(
  task: Task,
  tx: optax.GradientTransformationExtraArgs,
  state: InnerState,
  key: jax.Array,
  batch_at: Callable[[Any], Batch],
  first: Any,
  stop: Any,
  fresh_at: Callable[[Any], Batch] | None = None,
) -> InnerState:
  """Inner steps `first` to `stop` - 1: the inner loop, or a part of it.

  Args:
    task: the inner problem.
    tx: the optimizer.
    state: the state before step `first`.
    key: [], the episode's; step k folds in k, so a loop run in parts draws the same numbers.
    batch_at: step number -> its batch.
    first: [] int32.
    stop: [] int32, traced like `first`: other values run the same program.
    fresh_at: step number -> other data (see `inner_step`).

  Example:
    >>> task = Task(
    ...   init=lambda key, pretrained=None: (jnp.array(3.0), {}),
    ...   loss=lambda w, state, key, batch: ((w - batch['x']) ** 2, (state, {})),
    ...   evaluate=lambda w, state, batch: {'loss': (w - batch['x']) ** 2},
    ... )
    >>> tx = optax.with_extra_args_support(optax.sgd(0.25))
    >>> state = InnerState(jnp.array(3.0), {}, tx.init(jnp.array(3.0)))
    >>> state = advance(task, tx, state, jax.random.key(0), lambda k: {'x': 1.0}, 0, 3)
    >>> float(state.params)
    1.25
  """

  def step(k: Any, state: InnerState) -> InnerState:
    fresh = None if fresh_at is None else partial(fresh_at, k)
    return inner_step(task, tx, state, jax.random.fold_in(key, k), batch_at(k), fresh)[0]

  return jax.lax.fori_loop(first, stop, step, state)


def measure(rule: LearnedRule, task: Task, state: InnerState, evaluation: Batch) -> Metrics:
  """The metrics of a state, at the parameters that its rule wants evaluated."""
  params = rule.eval_params(state.opt_state, state.params)
  return task.evaluate(params, state.model_state, evaluation)


def rollout(
  task: Task,
  tx: optax.GradientTransformationExtraArgs,
  episode: Episode,
  store: PyTree,
  num_steps: jax.Array,
  record: Callable[[InnerState, Metrics], PyTree] | None = None,
) -> tuple[InnerState, PyTree]:
  """`num_steps` inner steps on one episode.

  Proposals (of LGL2O) are compared on the next step's batch; the last step reuses its own.

  Args:
    task: the inner problem.
    tx: the optimizer.
    episode: where it starts and its K_max training batches.
    store: see `fetch`.
    num_steps: [] int32, at most K_max, traced: another value runs the same program. A value
      above K_max goes unnoticed: the last batch is repeated.
    record: what to keep of each step's state and metrics, if anything.

  Returns:
    The final state, and the records [K_max, ...], zero beyond `num_steps` (None without record).

  Example:
    >>> task = Task(
    ...   init=lambda key, pretrained=None: (jnp.array(3.0), {}),
    ...   loss=lambda w, state, key, batch: ((w - batch['x']) ** 2, (state, {})),
    ...   evaluate=lambda w, state, batch: {'loss': (w - batch['x']) ** 2},
    ... )
    >>> train = {'x': jnp.ones(4)}
    >>> episode = Episode(jnp.array(3.0), {}, jax.random.key(0), train, {'x': jnp.array(1.0)})
    >>> tx = optax.with_extra_args_support(optax.sgd(0.25))
    >>> final, seen = rollout(task, tx, episode, {}, 3, record=lambda state, metrics: state.params)
    >>> float(final.params), seen.tolist()
    (1.25, [2.0, 1.5, 1.25, 0.0])
  """
  state = begin(tx, episode.params, episode.model_state)
  batch_of = partial(batch_at, episode.train, store)

  def fresh_at(k: Any) -> Batch:
    return batch_of(jnp.minimum(k + 1, num_steps - 1))

  if record is None:
    final = advance(task, tx, state, episode.key, batch_of, 0, num_steps, fresh_at)
    return final, None

  def step(state: InnerState, k: Any) -> tuple[InnerState, PyTree]:
    key = jax.random.fold_in(episode.key, k)
    state, metrics = inner_step(task, tx, state, key, batch_of(k), partial(fresh_at, k))
    return state, record(state, metrics)

  def recorded(k: Any, carry: tuple[InnerState, PyTree]) -> tuple[InnerState, PyTree]:
    state, seen = step(carry[0], k)
    return state, jax.tree.map(lambda all_, now: all_.at[k].set(now), carry[1], seen)

  shapes = jax.eval_shape(step, state, 0)[1]
  longest = jax.tree.leaves(episode.train)[0].shape[0]
  records = jax.tree.map(lambda leaf: jnp.zeros((longest, *leaf.shape), leaf.dtype), shapes)
  return jax.lax.fori_loop(0, num_steps, recorded, (state, records))


def batch_at(train: Batch, store: PyTree, k: Any) -> Batch:
  """Batch k of an episode's training batches [K, B, ...]; for `store` see `fetch`."""
  batch = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, k, 0, False), train)
  return fetch(store, batch)


def start_episodes(
  task: Task, key: jax.Array, pretrained: Start | None, draw: dict[str, Batch]
) -> Episode:
  """Episodes [b, ...] from a sampler's draw, each with a fresh start and its own key.

  Args:
    task: the inner problem.
    key: source of the episodes' keys.
    pretrained: (params, model_state) to start from, or None.
    draw: 'train' with leaves [b, K, B, ...] and 'evaluation' with leaves [b, E, ...].
  """
  count = jax.tree.leaves(draw['train'])[0].shape[0]
  return start_with_keys(task, jax.random.split(key, (2, count)), pretrained, draw)


def start_with_keys(
  task: Task, keys: jax.Array, pretrained: Start | None, draw: dict[str, Batch]
) -> Episode:
  """`start_episodes` for a subset of its episodes, by their keys.

  Args:
    task: the inner problem.
    keys: [2, b], for each episode's start and for its run.
    pretrained: (params, model_state) to start from, or None.
    draw: as in `start_episodes`.
  """
  init_keys, run_keys = keys
  params, model_state = jax.vmap(lambda k: task.init(k, pretrained))(init_keys)
  return Episode(params, model_state, run_keys, draw['train'], draw['evaluation'])


def run_episode(
  rule: LearnedRule,
  task: Task,
  theta: Theta,
  episode: Episode,
  tasks: TaskBatch,
  objective: str = 'final',
) -> Metrics:
  """Trains on one episode and measures: `task.evaluate` after K steps under `rule` with `theta`.

  Args:
    rule: the optimizer.
    task: the inner problem.
    theta: the rule's meta-parameters.
    episode: one episode, without a leading axis.
    tasks: gives the data and the horizon; its episodes are ignored.
    objective: see `meta_loss`.
  """
  tx = rule.bind(theta, tasks.num_steps)
  record = (lambda state, metrics: metrics['loss']) if objective == 'mean' else None
  final, losses = rollout(task, tx, episode, tasks.data['train'], tasks.num_steps, record)
  metrics = measure(rule, task, final, fetch(tasks.data['evaluation'], episode.evaluation))
  return metrics if losses is None else metrics | {'loss': jnp.sum(losses) / tasks.num_steps}


def meta_loss(
  rule: LearnedRule, task: Task, map_fn: MapFn = vectorized, objective: str = 'final'
) -> MetaLoss:
  """The meta-objective: theta, tasks -> the metrics of `run_episode`, averaged over the episodes.

  Args:
    rule: the optimizer.
    task: the inner problem.
    map_fn: strategy for mapping over episodes; convolutions on a CPU run best one after another.
    objective: what 'loss' is: that of `task.evaluate` at the end ('final'; also 'window_end', since
      without an estimator's windows the episode is one window), or the 'mean' of the training
      losses before the K updates.

  Returns:
    A function returning metrics [], whose 'loss' meta-training minimizes.

  Raises:
    InputError: an unknown objective.
  """
  choose(objective, OBJECTIVES, 'meta-objective')

  def one(episode: Episode, shared: tuple[Theta, PyTree, jax.Array]) -> Metrics:
    theta, data, num_steps = shared
    tasks = TaskBatch(episode, data, num_steps)
    return run_episode(rule, task, theta, episode, tasks, objective)

  def loss(theta: Theta, tasks: TaskBatch) -> Metrics:
    each = map_fn(one, tasks.episodes, (theta, tasks.data, tasks.num_steps))
    return jax.tree.map(jnp.mean, each)

  return loss

"""Runs episodes whose batches come from the host, chunk by chunk.

All (theta, episode) pairs step through a chunk together, and their states stay on the device
between chunks: parameters, model state and optimizer state of each pair. Their number is bounded by
`feed.tasks_at_once` in evaluation, and by the population and meta-batch in meta-training.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from datasets.input_pipeline import Fed, fed
from l2o.inner.rollout import advance, begin, measure
from l2o.inner.step import InnerState
from l2o.types import Batch, Episode, LearnedRule, MapFn, Metrics, PyTree, Task, Theta
from trainers.processes import arrays
from trainers.resources import meshes, run_data

Chunks = Iterator[tuple[int, Batch]]


class Host(NamedTuple):
  """Reads the images of a source and places them on a mesh."""

  train: Fed
  evaluation: Fed
  chunk_steps: int

  def start(self, drawn: Mapping[str, Any], mesh: Mesh) -> dict[str, Batch]:
    """What episodes start with: their evaluation batch, and labels instead of training batches."""
    size = drawn['evaluation']['label'].shape[1]
    place = meshes.batch_sharding(mesh, axis=1)
    part = arrays.own_part(place, 1, size)
    own = {name: x[:, part] for name, x in drawn['evaluation'].items()}
    images = self.evaluation.read.images(own.pop('index'))
    return {
      'train': {'label': arrays.put(drawn['train']['label'], meshes.replicated(mesh))},
      'evaluation': arrays.put_part({'image': images, **own}, place, 1, part, size),
    }


def host(data: run_data.Data, source: str) -> Host | None:
  """The reader of a source's images; None if the images are on the device."""
  splits = data.sources[source].items()
  by_split = {split: fed(images, split, data.feed) for split, images in splits}
  train, evaluation = by_split['train'], by_split['validation']
  return Host(train, evaluation, data.feed.chunk_steps) if train and evaluation else None


class FedEpisodes:
  """Runs every theta on every episode, with the same inner loop as for data on the device.

  Args:
    task: the inner problem.
    rule: the optimizer.
    mesh: pairs are spread over its 'population' axis.
    on_device: maps over the pairs on one device.
  """

  def __init__(self, task: Task, rule: LearnedRule, mesh: Mesh, on_device: MapFn):
    spread = meshes.sharded_map(mesh, on_device)
    devices = mesh.shape['population']
    self._begin = jax.jit(partial(_begin, rule, spread, devices))
    self._advance = jax.jit(partial(_advance, task, rule, spread, devices), donate_argnums=0)
    gathered = meshes.gathered_map(mesh, on_device)
    self._measure = jax.jit(partial(_measure, task, rule, gathered, devices))

  def run(self, thetas: Theta, episodes: Episode, chunks: Chunks, num_steps: int) -> Metrics:
    """The metrics of every pair after `num_steps` steps: [n, b].

    Args:
      thetas: leaves [n, ...].
      episodes: leaves [b, ...], `evaluation` with its images; `train` is ignored.
      chunks: (first step, leaves [C, b, B, ...]), see `datasets.input_pipeline.chunks`.
      num_steps: K.
    """
    states = self._begin(thetas, episodes.params, episodes.model_state, num_steps)
    for first, chunk in chunks:
      stop = min(first + jax.tree.leaves(chunk)[0].shape[0], num_steps)
      # Returns at once: the next chunk is read while the device computes.
      states = self._advance(states, thetas, episodes.key, chunk, first, stop, num_steps)
    return self._measure(states, thetas, episodes.evaluation)

  def lower(self, thetas: Theta, episodes: Episode, chunk: Batch) -> jax.stages.Lowered:
    """A chunk of steps, from shapes with shardings alone."""
    start = thetas, episodes.params, episodes.model_state, 1
    places = self._begin.lower(*start).compile().output_shardings
    states = meshes.shaped(jax.eval_shape(self._begin, *start), places)
    return self._advance.lower(states, thetas, episodes.key, chunk, 0, 1, 1)


def _pairs(thetas: Theta, keys: Any, devices: int) -> tuple[jax.Array, jax.Array]:
  """Indices of each pair's theta and episode: [n b], [n b].

  The last pair is repeated until all devices have equally many: with an uneven number, states
  would move between devices at every chunk.
  """
  n, b = jax.tree.leaves(thetas)[0].shape[0], jax.tree.leaves(keys)[0].shape[0]
  numbers = np.minimum(np.arange(n * b + -(n * b) % devices), n * b - 1)
  return jnp.asarray(numbers // b), jnp.asarray(numbers % b)


def _at(tree: PyTree, i: Any) -> PyTree:
  return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, 0, False), tree)


def _begin(
  rule: LearnedRule,
  map_fn: MapFn,
  devices: int,
  thetas: Theta,
  params: PyTree,
  model_state: PyTree,
  steps: Any,
) -> InnerState:
  def one(pair: tuple, shared: tuple) -> InnerState:
    i, j = pair
    thetas, params, model_state, steps = shared
    return begin(rule.bind(_at(thetas, i), steps), _at(params, j), _at(model_state, j))

  return map_fn(one, _pairs(thetas, params, devices), (thetas, params, model_state, steps))


def _advance(
  task: Task,
  rule: LearnedRule,
  map_fn: MapFn,
  devices: int,
  states: InnerState,
  thetas: Theta,
  keys: jax.Array,
  chunk: Batch,
  first: Any,
  stop: Any,
  num_steps: Any,
) -> InnerState:
  def one(numbered: tuple, shared: tuple) -> InnerState:
    (i, j), state = numbered
    thetas, keys, chunk, first, stop, num_steps = shared
    tx = rule.bind(_at(thetas, i), num_steps)

    def batch_at(k: Any) -> Batch:
      return _at(_at(chunk, k - first), j)

    return advance(task, tx, state, _at(keys, j), batch_at, first, stop)

  shared = thetas, keys, chunk, first, stop, num_steps
  return map_fn(one, (_pairs(thetas, keys, devices), states), shared)


def _measure(
  task: Task,
  rule: LearnedRule,
  map_fn: MapFn,
  devices: int,
  states: InnerState,
  thetas: Theta,
  evaluation: Batch,
) -> Metrics:
  def one(numbered: tuple, evaluation: Batch) -> Metrics:
    (_, j), state = numbered
    return measure(rule, task, state, _at(evaluation, j))

  metrics = map_fn(one, (_pairs(thetas, evaluation, devices), states), evaluation)
  n, b = (jax.tree.leaves(tree)[0].shape[0] for tree in (thetas, evaluation))
  return jax.tree.map(lambda x: x[: n * b].reshape(n, b), metrics)

"""Evaluates theta during meta-training: on fixed tasks, over the longest horizon.

The metrics of a generation cannot show its quality: tasks and K are drawn anew, thetas are
perturbed, and an estimator with windows sees only parts of episodes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from datasets.sampler import TaskSampler
from l2o.inner.mapping import on_device
from l2o.inner.rollout import measure, rollout, start_episodes
from l2o.inner.step import InnerState, fetch
from l2o.types import Episode, LearnedRule, Metrics, PyTree, Start, Task, Theta
from trainers.checks import blocks
from trainers.harness import stage
from trainers.processes import arrays
from trainers.resources import meshes

DRAW = 2**31 - 1  # the sampler's draw with the fixed tasks; no generation uses it


def evaluation(
  spec: blocks.MetaTrain, task: Task, rule: LearnedRule, tasks: TaskSampler, key: jax.Array,
  mesh: Mesh, pretrained: Start, stores: PyTree,
) -> stage.Evaluate:  # fmt: skip
  """The evaluation of theta before the first generation and after every `eval_every`.

  Args:
    spec: the stage's block.
    task: the inner problem.
    rule: the optimizer.
    tasks: the generations' sampler; a draw that no generation uses gives the fixed tasks.
    key: [] for the starts and runs of the fixed tasks.
    mesh: tasks are spread over its 'population'.
    pretrained: (params, model_state) on the mesh.
    stores: images on the mesh.

  Returns:
    An evaluation that writes 'eval_mean_loss', the mean training loss before each of the
    `max_steps` updates, and the task's metrics after them as 'eval_…', all averaged over tasks.
  """
  drawn = tasks.sample(DRAW, spec.eval_tasks, spec.max_steps)
  drawn = {part: drawn[part] for part in ('train', 'evaluation')}
  whole = meshes.replicated(mesh)
  start = jax.jit(partial(start_episodes, task), out_shardings=whole)
  episodes = start(key, pretrained, arrays.put(drawn, whole))
  map_fn = meshes.gathered_map(mesh, on_device(spec.mapping))
  one = _measured(task, rule, spec.max_steps)

  @jax.jit
  def measured(theta: Theta, episodes: Episode, stores: PyTree) -> Metrics:
    return jax.tree.map(jnp.mean, map_fn(one, episodes, (theta, stores)))

  def of_state(done: int, state: Any) -> dict[str, float]:
    del done
    found = arrays.get(measured(state.theta, episodes, stores))
    return {f'eval_{name}': float(value) for name, value in found.items()}

  return stage.Evaluate(spec.eval_every, of_state, from_the_start=True)


def _measured(task: Task, rule: LearnedRule, num_steps: int) -> Callable[[Episode, tuple], Metrics]:
  """(episode, (theta, stores)) -> the episode's metrics."""

  def loss_of(state: InnerState, metrics: Metrics) -> jax.Array:
    del state
    return metrics['loss']

  def one(episode: Episode, shared: tuple) -> Metrics:
    theta, stores = shared
    steps = np.int32(num_steps)
    tx = rule.bind(theta, steps)
    final, losses = rollout(task, tx, episode, stores['train'], steps, loss_of)
    found = measure(rule, task, final, fetch(stores['evaluation'], episode.evaluation))
    return found | {'mean_loss': jnp.mean(losses)}

  return one

"""An MLP to train, with a rule of few meta-parameters: what estimates can be checked on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from l2o.inner.rollout import start_episodes
from l2o.tasks.classification import classification
from l2o.types import LearnedRule, TaskBatch

EXAMPLES, BATCH = 60, 8


class Smooth(nn.Module):
  """One hidden layer.

  With ReLU the gradient jumps where a unit switches, and with it the trained parameters: the mean
  loss is then not continuous in theta, and its derivative not the slope that perturbations see.
  """

  @nn.compact
  def __call__(self, images, train):
    del train
    return nn.Dense(3, name='head')(nn.tanh(nn.Dense(6)(images.reshape(len(images), -1))))


def per_leaf_momentum(log_rate=-1.0):
  """Heavy ball, whose step size and momentum are learned for each leaf: theta has two rows."""

  def init(key, params):
    count = len(jax.tree.leaves(params))
    return {
      'log_rate': log_rate + jnp.linspace(0.0, 0.5, count),
      'momentum': jnp.linspace(0.3, 0.8, count),
    }

  def bind(theta, num_steps):
    del num_steps

    def update(grads, state, params=None, **more):
      leaves, structure = jax.tree.flatten(grads)
      rates, momenta = jnp.exp(theta['log_rate']), jax.nn.sigmoid(theta['momentum'])
      kept = [m * v + g for m, v, g in zip(momenta, jax.tree.leaves(state), leaves, strict=True)]
      steps = [-rate * v for rate, v in zip(rates, kept, strict=True)]
      return structure.unflatten(steps), structure.unflatten(kept)

    zeros = lambda params: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
    return optax.GradientTransformationExtraArgs(zeros, update)

  return LearnedRule(init, bind)


def problem(horizon, longest=None, count=1, log_rate=-1.0):
  """(rule, task, theta, tasks): images in three classes, which differ in mean."""
  rule, task = per_leaf_momentum(log_rate), classification(Smooth(), (3, 3, 1))
  rng = np.random.default_rng(4)
  labels = rng.integers(0, 3, EXAMPLES)
  images = rng.normal(90.0 + 50.0 * labels[:, None, None, None], 40.0, (EXAMPLES, 3, 3, 1))
  store = {'image': jnp.asarray(np.clip(images, 0, 255), jnp.uint8)}

  def batches(*shape):
    index = rng.integers(0, EXAMPLES, shape)
    return {'index': jnp.asarray(index, jnp.int32), 'label': jnp.asarray(labels[index], jnp.int32)}

  draw = {'train': batches(count, longest or horizon, BATCH), 'evaluation': batches(count, 20)}
  episodes = start_episodes(task, jax.random.key(8), None, draw)
  tasks = TaskBatch(episodes, {'train': store, 'evaluation': store}, jnp.int32(horizon))
  return rule, task, rule.init(jax.random.key(0), task.init(jax.random.key(0))[0]), tasks

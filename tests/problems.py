"""Small inner problems and parameter trees. Nothing is centred at zero or symmetric."""

import jax
import jax.numpy as jnp
import numpy as np

from l2o.types import Episode, Task, TaskBatch

CENTRE = np.array([1.5, -0.7, 0.2], np.float32)
CURVATURE = np.array([[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 0.5]], np.float32)


def quadratic_loss(w):
  """1/2 (w - c)^T A (w - c) with an A that is not diagonal."""
  d = w - CENTRE
  return 0.5 * d @ CURVATURE @ d


def quadratic_task():
  """Descends the quadratic plus a linear term that the batch gives."""

  def init(key, pretrained=None):
    del pretrained
    return {'w': 0.1 * jax.random.normal(key, (3,)) + 0.5}, {}

  def loss(params, model_state, key, batch):
    del key
    value = quadratic_loss(params['w']) + jnp.mean(batch['slope']) * params['w'][0]
    return value, (model_state, {})

  def evaluate(params, model_state, batch):
    del model_state
    return {'loss': quadratic_loss(params['w']) + 0.0 * jnp.sum(batch['slope'])}

  return Task(init, loss, evaluate)


def quadratic_tasks(key, count=2, longest=6, num_steps=4):
  """A TaskBatch of `count` quadratic episodes."""
  task = quadratic_task()
  keys = jax.random.split(key, count)
  params, model_state = jax.vmap(task.init)(keys)
  slope = 0.1 * jax.random.normal(key, (count, longest, 5))
  episodes = Episode(params, model_state, keys, {'slope': slope}, {'slope': slope[:, 0]})
  return TaskBatch(episodes, {'train': {}, 'evaluation': {}}, jnp.int32(num_steps))


def tree(dtype=jnp.float32):
  """Leaves of ranks 0 to 4, with axes of length 1, none of them symmetric."""
  rng = np.random.default_rng(3)
  shapes = {'scalar': (), 'bias': (5,), 'kernel': (4, 3), 'stack': (2, 1, 3), 'conv': (3, 3, 1, 2)}
  return {name: jnp.asarray(rng.normal(0.4, 1.0, shape), dtype) for name, shape in shapes.items()}


def coupled_problem():
  """Three leaves that pull at each other: starting point and gradient, both dicts of arrays.

  The gradient of 1/2 sum_l a_l ‖w_l - c_l‖² + 1/4 s², s the sum of all entries of w - c, each a_l
  and c_l its own. It takes NumPy's and JAX's arrays alike, and keeps to their precision.
  """
  rng = np.random.default_rng(5)
  shapes = {'bias': (3,), 'kernel': (2, 3), 'scalar': ()}
  centre = {name: rng.normal(0.8, 1.0, shape) for name, shape in shapes.items()}
  start = {name: rng.normal(-0.3, 0.7, shape) for name, shape in shapes.items()}
  curvature = {'bias': 1.0, 'kernel': 0.3, 'scalar': 2.5}

  def gradient(params):
    away = {name: w - centre[name] for name, w in params.items()}
    together = 0.5 * sum(leaf.sum() for leaf in away.values())
    return {name: curvature[name] * leaf + together for name, leaf in away.items()}

  return start, gradient

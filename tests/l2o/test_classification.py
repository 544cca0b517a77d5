"""The classification task and its models."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from l2o.models.mlp import MLP
from l2o.tasks.classification import classification


class Normalised(nn.Module):
  """A network with batch statistics and dropout."""

  num_classes: int

  @nn.compact
  def __call__(self, images, train):
    x = images.reshape((images.shape[0], -1))
    x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(6)(x))
    x = nn.Dropout(0.5, deterministic=not train)(x)
    return nn.Dense(self.num_classes, name='head')(x)


def batch(rng, count=12, classes=3):
  images = rng.integers(0, 256, (count, 4, 4, 1)).astype(np.uint8)
  return {'image': jnp.asarray(images), 'label': jnp.asarray(rng.integers(0, classes, count))}


def test_loss_and_accuracy_against_numpy(rng):
  task = classification(MLP(3, features=(5,)), (4, 4, 1))
  params, state = task.init(jax.random.key(0))
  data = batch(rng)
  x = np.asarray(data['image'], np.float64).reshape(12, -1) / 255
  p = jax.tree.map(np.asarray, params)
  hidden = np.maximum(x @ p['Dense_0']['kernel'] + p['Dense_0']['bias'], 0)
  logits = hidden @ p['head']['kernel'] + p['head']['bias']
  log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  expected = -log_p[np.arange(12), data['label']].mean()
  got = task.evaluate(params, state, data)
  np.testing.assert_allclose(got['loss'], expected, rtol=1e-5)
  np.testing.assert_allclose(got['accuracy'], np.mean(logits.argmax(axis=1) == data['label']))
  loss, (_, metrics) = task.loss(params, state, jax.random.key(1), data)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  np.testing.assert_allclose(metrics['accuracy'], got['accuracy'])


def test_a_pretrained_start_keeps_the_backbone_and_draws_a_head(rng):
  wide = classification(MLP(7, features=(5,)), (4, 4, 1))
  task = classification(MLP(3, features=(5,)), (4, 4, 1))
  pretrained = wide.init(jax.random.key(0))
  a, _ = task.init(jax.random.key(1), pretrained)
  b, _ = task.init(jax.random.key(2), pretrained)
  np.testing.assert_array_equal(a['Dense_0']['kernel'], pretrained[0]['Dense_0']['kernel'])
  assert a['head']['kernel'].shape == (5, 3)
  assert np.any(a['head']['kernel'] != b['head']['kernel'])


def test_batch_statistics_move_in_training_only_and_are_used_in_evaluation(rng):
  task = classification(Normalised(3), (4, 4, 1))
  params, state = task.init(jax.random.key(0))
  data = batch(rng)
  _, (moved, _) = task.loss(params, state, jax.random.key(1), data)
  before, after = jax.tree.leaves(state), jax.tree.leaves(moved)
  assert any(np.any(a != b) for a, b in zip(before, after, strict=True))
  first, second = task.evaluate(params, state, data), task.evaluate(params, moved, data)
  assert first['loss'] != second['loss']
  again = task.evaluate(params, state, data)
  assert first['loss'] == again['loss']


def test_the_key_is_the_randomness_of_training(rng):
  task = classification(Normalised(3), (4, 4, 1))
  params, state = task.init(jax.random.key(0))
  data = batch(rng)
  losses = [float(task.loss(params, state, jax.random.key(k), data)[0]) for k in (1, 1, 2)]
  assert losses[0] == losses[1] != losses[2]


def test_pretrained_statistics_come_along():
  task = classification(Normalised(3), (4, 4, 1))
  params, state = task.init(jax.random.key(0))
  marked = jax.tree.map(lambda x: x + 3.0, state)
  _, started = task.init(jax.random.key(1), (params, marked))
  jax.tree.map(np.testing.assert_array_equal, started, marked)

"""The classification task and its models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from l2o.errors import InputError
from l2o.models.mlp import MLP
from l2o.tasks.classification import _cut_at_random, classification


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


def test_the_top_5_are_counted_where_there_are_more_classes(rng):
  data = batch(rng, count=40, classes=8)
  task = classification(MLP(8, features=(5,)), (4, 4, 1))
  params, state = task.init(jax.random.key(0))
  logits = MLP(8, features=(5,)).apply({'params': params}, data['image'] / 255, train=False)
  first = np.argsort(-np.asarray(logits), axis=1)[:, :5]
  found = [label in row for label, row in zip(np.asarray(data['label']), first, strict=True)]
  measured = task.evaluate(params, state, data)
  np.testing.assert_allclose(measured['top_5_accuracy'], np.mean(found))
  assert measured['accuracy'] < measured['top_5_accuracy'] < 1
  few = classification(MLP(5, features=(5,)), (4, 4, 1))
  assert sorted(few.evaluate(*few.init(jax.random.key(0)), data)) == ['accuracy', 'loss']


@pytest.mark.parametrize('size', [1, 4, 13, 50])
def test_an_evaluation_in_parts_is_the_same(rng, size):
  images = jnp.asarray(rng.integers(0, 256, (13, 6, 5, 1)), jnp.uint8)
  data = {'image': images, 'label': jnp.arange(13) % 7}
  whole, parts = (
    classification(Normalised(7), (6, 5, 1), crop=4, evaluated_at_once=at_once)
    for at_once in (0, size)
  )
  params, state = whole.init(jax.random.key(0))
  for name, value in whole.evaluate(params, state, data).items():
    np.testing.assert_allclose(parts.evaluate(params, state, data)[name], value, rtol=1e-6)


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


class Seen(nn.Module):
  """Logits that say what the network was given: its size, and pixels in their places."""

  num_classes: int

  @nn.compact
  def __call__(self, images, train):
    del train
    self.param('scale', nn.initializers.ones, ())
    return images.reshape((images.shape[0], -1)) * 255.0


def test_training_sees_random_parts_and_mirror_images_of_them():
  image = jnp.arange(20, dtype=jnp.uint8).reshape(4, 5, 1)
  parts = {
    image[top : top + 3, left : left + 3, 0].tobytes() for top in range(2) for left in range(3)
  }
  images = jnp.repeat(image[None], 64, axis=0)
  cut, both = (
    np.asarray(_cut_at_random(jax.random.key(3), images, (3, 3, 1), mirror))[..., 0]
    for mirror in (False, True)
  )
  assert {x.tobytes() for x in cut} == parts
  unturned = [x for x in both if x.tobytes() in parts]
  turned = [x for x in both if x[:, ::-1].tobytes() in parts]
  assert len(unturned) + len(turned) == len(both)
  assert 16 < len(turned) < 48  # of 64


def test_the_key_of_a_step_decides_what_training_sees():
  task = classification(MLP(3, features=(5,)), (4, 4, 1), crop=2)
  params, state = task.init(jax.random.key(0))
  data = {
    'image': jnp.arange(32, dtype=jnp.uint8).reshape(2, 4, 4, 1) * 8,
    'label': jnp.array([0, 2]),
  }
  losses = {float(task.loss(params, state, jax.random.key(k), data)[0]) for k in range(6)}
  assert len(losses) > 2


def test_evaluation_sees_the_middle():
  task = classification(Seen(9), (5, 5, 1), crop=3)
  params, state = task.init(jax.random.key(0))
  image = np.zeros((5, 5, 1), np.uint8)
  image[3, 3] = 1  # the last pixel of the middle
  data = {'image': jnp.asarray(image[None]), 'label': jnp.array([8])}
  assert task.evaluate(params, state, data)['accuracy'] == 1.0


def test_a_crop_larger_than_the_image_is_refused():
  with pytest.raises(InputError, match=r'task\.crop must be 0 to 4, not 5'):
    classification(MLP(3), (4, 6, 1), crop=5)

"""CutMix: which pixels and which part of a label come from another image, and how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from l2o.errors import InputError
from l2o.models.mlp import MLP
from l2o.tasks.classification import _cut_at_random, classification
from l2o.tasks.cutmix import mixed

SHAPE = (6, 7, 11, 2)  # [B, H, W, C]


def numbered():
  """Each pixel says which image it is of, and where it was."""
  return np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE)


def numpy_cross_entropy(logits, labels):
  log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  return -log_p[np.arange(len(labels)), labels]


@pytest.mark.parametrize('alpha', [0.2, 1.0, 4.0])
def test_one_box_of_a_permutation_of_the_batch_and_exactly_its_fraction(alpha):
  images, counts = numbered(), []
  for seed in range(40):
    cut, others, own = map(np.asarray, mixed(jax.random.key(seed), jnp.asarray(images), alpha))
    assert sorted(others) == list(range(len(images)))
    foreign = np.zeros(SHAPE[1:3], bool)
    for image, theirs, out in zip(images, images[others], cut, strict=True):
      inside = (out != image).any(axis=-1)
      np.testing.assert_array_equal(out, np.where(inside[..., None], theirs, image))
      foreign |= inside
    if (others != np.arange(len(images))).any():
      assert own == np.float32(1) - np.float32(foreign.sum()) / np.float32(foreign.size)
      rows, columns = np.flatnonzero(foreign.any(axis=1)), np.flatnonzero(foreign.any(axis=0))
      assert foreign.sum() == len(rows) * len(columns)
      if foreign.any():  # a rectangle has no gaps
        assert np.ptp(rows) + 1 == len(rows)
        assert np.ptp(columns) + 1 == len(columns)
        counts.append((rows[0] + rows[-1], columns[0] + columns[-1]))
  assert len(set(counts)) > 10


def draw_lambdas(rng, count, alpha, height, width):
  """Lambda after clipping, by the paper's algorithm, one box after the other."""
  found = []
  for _ in range(count):
    part = np.sqrt(1 - rng.beta(alpha, alpha))
    sides = []
    for side in (height, width):
      centre, long = rng.uniform(0, side), side * part
      sides.append(round(min(centre + long / 2, side)) - round(max(centre - long / 2, 0)))
    found.append(1 - sides[0] * sides[1] / (height * width))
  return np.sort(found)


@pytest.mark.parametrize('alpha', [0.3, 1.0])
def test_lambda_has_the_distribution_of_numpys(alpha):
  images, count = jnp.zeros((2, 70, 110, 1), jnp.uint8), 3000
  keys = jax.random.split(jax.random.key(3), count)
  ours = np.sort(jax.jit(jax.vmap(lambda key: mixed(key, images, alpha).own))(keys))
  theirs = draw_lambdas(np.random.default_rng(7), count, alpha, 70, 110)
  points = np.linspace(0, 1, 501)
  apart = np.searchsorted(ours, points) - np.searchsorted(theirs, points)
  assert np.abs(apart).max() / count < 1.95 * np.sqrt(2 / count)  # Kolmogorov, Smirnov: 0.001


@pytest.fixture
def batch(rng):
  return {
    'image': jnp.asarray(rng.integers(0, 256, (8, 6, 7, 1)), jnp.uint8),
    'label': jnp.asarray(rng.integers(0, 3, 8)),
  }


class Table(nn.Module):
  """Logits that are products of the pixels with fixed numbers."""

  @nn.compact
  def __call__(self, images, train):
    x = images.reshape((len(images), -1))
    weight = self.param('weight', nn.initializers.normal(0.3), (x.shape[1], 3))
    return x @ weight


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_the_loss_is_of_both_labels_and_the_accuracy_of_the_own(batch, smoothing):
  how = {'crop': 5, 'mirror': True, 'cutmix': 1.0, 'label_smoothing': smoothing}
  task = classification(Table(), (6, 7, 1), **how)
  params, state = task.init(jax.random.key(0))
  weights, labels = [], np.asarray(batch['label'])
  for seed in range(8):
    key = jax.random.key(seed)
    loss, (_, metrics) = task.loss(params, state, key, batch)
    images = _cut_at_random(jax.random.fold_in(key, 1), batch['image'], (5, 5, 1), True)
    cut, others, own = map(np.asarray, mixed(jax.random.fold_in(key, 2), images, 1.0))
    logits = cut.reshape(8, -1) / 255 @ np.asarray(params['weight'], np.float64)
    to_all = np.mean([numpy_cross_entropy(logits, np.full(8, c)) for c in range(3)], axis=0)
    mixture = own * numpy_cross_entropy(logits, labels)
    mixture += (1 - own) * numpy_cross_entropy(logits, labels[others])
    wanted = (1 - smoothing) * mixture + smoothing * to_all
    np.testing.assert_allclose(loss, wanted.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics['loss'], loss)
    np.testing.assert_allclose(metrics['accuracy'], np.mean(logits.argmax(axis=1) == labels))
    weights.append(float(own))
  assert len(set(weights)) > 4


def test_evaluation_is_of_whole_images_and_hard_labels(batch):
  plain = classification(Table(), (6, 7, 1))
  params, state = plain.init(jax.random.key(0))
  other = classification(Table(), (6, 7, 1), cutmix=1.0, label_smoothing=0.3)
  assert plain.evaluate(params, state, batch) == other.evaluate(params, state, batch)
  key = jax.random.key(1)
  assert plain.loss(params, state, key, batch)[0] != other.loss(params, state, key, batch)[0]


def test_keys_change_the_mixture_and_not_the_program(batch):
  task = classification(MLP(3, features=(5,)), (6, 7, 1), cutmix=0.5)
  params, state = task.init(jax.random.key(0))
  step = jax.jit(lambda key: task.loss(params, state, key, batch)[0])
  losses = [float(step(jax.random.key(seed))) for seed in (4, 4, 5, 6, 7)]
  assert losses[0] == losses[1]
  assert len(set(losses)) == 4
  assert step._cache_size() == 1


@pytest.mark.parametrize(
  ('argument', 'says'),
  [
    ({'cutmix': -1.0}, r'cutmix must be at least 0'),
    ({'label_smoothing': 1.0}, r'label_smoothing must be at least 0 and below 1'),
  ],
)
def test_wrong_numbers_are_refused(argument, says):
  with pytest.raises(InputError, match=says):
    classification(Table(), (6, 7, 1), **argument)

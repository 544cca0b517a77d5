"""What pretrained weights expect of their images is what the task gives them."""

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from flax import linen as nn

from l2o.errors import InputError
from l2o.models.mlp import MLP
from l2o.tasks.classification import classification
from l2o.tasks.preprocessing import IMAGENET, Preprocessing
from l2o.tasks.regression import regression

BLOCK = {'mean': (0.1, 0.2, 0.3), 'std': (0.5, 0.25, 2.0)}


class Sum(nn.Module):
  """Logits [B, 2]: a parameter as large as the images, times them, and 0."""

  num_classes: int = 2

  @nn.compact
  def __call__(self, images, train):
    weight = self.param('weight', nn.initializers.normal(), images.shape[1:])
    total = jnp.sum(images * weight[None], axis=(1, 2, 3))
    return jnp.stack([total, 0 * total], axis=1)


def loss_of(total):
  """Cross-entropy of label 0."""
  return np.mean(np.log1p(np.exp(-total)))


@pytest.mark.parametrize('given', [BLOCK, Preprocessing(**BLOCK)])
def test_the_task_subtracts_and_divides_in_training_and_in_evaluation(rng, given):
  images = rng.integers(0, 256, (4, 6, 5, 3)).astype(np.uint8)
  task = classification(Sum(), (6, 5, 3), preprocessing=given)
  params, state = task.init(jax.random.key(0))
  x = (images / 255 - np.array(BLOCK['mean'])) / np.array(BLOCK['std'])
  wanted = loss_of(np.sum(x * np.asarray(params['weight']), axis=(1, 2, 3)))
  batch = {'image': jnp.asarray(images), 'label': jnp.zeros(4, jnp.int32)}
  loss, _ = task.loss(params, state, jax.random.key(1), batch)
  np.testing.assert_allclose(loss, wanted, rtol=1e-4)
  np.testing.assert_allclose(task.evaluate(params, state, batch)['loss'], wanted, rtol=1e-4)


@pytest.mark.parametrize('size', [3, 9])
@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_images_are_resized_as_pillow_does(rng, size, interpolation):
  images = rng.integers(0, 256, (2, 6, 7, 1)).astype(np.uint8)
  found = Preprocessing((0.0,), (1.0,), size, interpolation)(jnp.asarray(images))
  assert found.shape == (2, size, size, 1)
  method = PIL.Image.Resampling[interpolation.upper()]
  for image, ours in zip(images, found, strict=True):
    held = PIL.Image.fromarray(image[..., 0].astype(np.float32) / 255)
    wanted = np.asarray(held.resize((size, size), method))
    np.testing.assert_allclose(ours[..., 0], wanted, atol=1e-5)


def test_the_model_is_made_for_the_size_that_it_sees():
  task = classification(Sum(), (12, 10, 3), crop=8, mirror=True, preprocessing={**BLOCK, 'size': 4})
  params, state = task.init(jax.random.key(0))
  assert params['weight'].shape == (4, 4, 3)
  batch = {'image': jnp.ones((2, 12, 10, 3), jnp.uint8), 'label': jnp.zeros(2, jnp.int32)}
  loss, _ = task.loss(params, state, jax.random.key(1), batch)
  np.testing.assert_allclose(task.evaluate(params, state, batch)['loss'], loss, rtol=1e-4)


class Mean(nn.Module):
  """The mean of each frame of a video [B, T, H, W, C], as [B, T], times the speed [B, 1]."""

  @nn.compact
  def __call__(self, frames, speed, train):
    assert frames.dtype == speed.dtype == jnp.float32
    return jnp.mean(frames, axis=(2, 3, 4)) * self.param('gain', nn.initializers.ones, ()) * speed


@pytest.mark.parametrize('given', [None, {**BLOCK, 'size': 3}])
def test_regression_prepares_what_is_uint8_and_leaves_the_rest(rng, given):
  frames = rng.integers(0, 256, (2, 4, 6, 6, 3)).astype(np.uint8)
  speed = rng.uniform(size=(2, 1)).astype(np.float32)
  batch = {'frames': frames, 'speed': speed, 'target': np.zeros((2, 4), np.float32)}
  how = Preprocessing(**given) if given else Preprocessing((0.0,), (1.0,))
  wanted = [np.mean(how(jnp.asarray(video)), axis=(1, 2, 3)) for video in frames]
  task = regression(Mean(), batch, preprocessing=given)
  params, state = task.init(jax.random.key(0))
  loss, _ = task.loss(params, state, jax.random.key(1), batch)
  np.testing.assert_allclose(loss, np.mean((speed * np.stack(wanted)) ** 2), rtol=1e-5)
  np.testing.assert_allclose(task.evaluate(params, state, batch)['loss'], loss, rtol=1e-6)


def test_regression_refuses_a_preprocessing_of_numbers():
  batch = {'frames': np.zeros((1, 1, 2, 2, 3), np.float32), 'target': np.zeros((1, 1), np.float32)}
  with pytest.raises(InputError, match=r'task\.preprocessing needs images in uint8'):
    regression(Mean(), batch, preprocessing=BLOCK)


@pytest.mark.parametrize(
  ('given', 'says'),
  [
    ({'mean': (0.5,)}, r'task\.preprocessing needs std'),
    ({**BLOCK, 'sizes': 3}, r"has no 'sizes' \(did you mean 'size'\?\)"),
    ({**BLOCK, 'size': 0}, r'task\.preprocessing\.size must be .*at least 1'),
    ({**BLOCK, 'std': (1.0, 0.0, 1.0)}, r'std\[1\] must be above 0, not 0\.0'),
    ({**BLOCK, 'interpolation': 'area'}, r"must be 'bilinear' or 'bicubic', not 'area'"),
    (IMAGENET, r'mean must have 1 number or one for each of the 1 channels, not 3'),
    (3, r'must be a block of keys'),
  ],
)
def test_a_wrong_block_is_refused(given, says):
  with pytest.raises(InputError, match=says):
    classification(MLP(3), (4, 4, 1), preprocessing=given)

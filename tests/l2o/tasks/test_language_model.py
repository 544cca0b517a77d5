"""Language modelling: what is predicted of what, and a rule that learns it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from l2o.errors import InputError
from l2o.models.decoder import Decoder
from l2o.tasks.language_model import language_model


class Successor(nn.Module):
  """Holds the next byte for likely: 9 in its logit against 0 for the others."""

  @nn.compact
  def __call__(self, tokens, train):
    self.param('unused', nn.initializers.zeros, (1,))
    return 9.0 * jax.nn.one_hot(tokens + 1, 256)


def texts(rows):
  return {'image': jnp.array(rows, jnp.uint8)[:, :, None, None], 'label': jnp.zeros(len(rows))}


def test_each_token_is_predicted_from_those_before_it():
  task = language_model(Successor(), (4, 1, 1))
  params, state = task.init(jax.random.key(0))
  batch = texts([[65, 66, 67, 68], [65, 66, 9, 8], [1, 1, 1, 1]])  # 3, 1 and 0 of 3 are right
  right, wrong = np.log(np.exp(9) + 255) - 9, np.log(np.exp(9) + 255)
  expected = (4 * right + 5 * wrong) / 9
  for metrics in (
    task.evaluate(params, state, batch),
    task.loss(params, state, jax.random.key(1), batch)[1][1],
    language_model(Successor(), (4, 1, 1), evaluated_at_once=2).evaluate(params, state, batch),
  ):
    np.testing.assert_allclose(metrics['loss'], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics['accuracy'], 4 / 9, rtol=1e-6)
    np.testing.assert_allclose(metrics['bits'], expected / np.log(2), rtol=1e-5)


def test_a_token_may_have_two_bytes_the_lowest_first():
  class Distant(nn.Module):
    @nn.compact
    def __call__(self, tokens, train):
      self.param('unused', nn.initializers.zeros, (1,))
      return 9.0 * jax.nn.one_hot(tokens + 256, 600)

  task = language_model(Distant(), (3, 1, 2))
  params, state = task.init(jax.random.key(0))
  batch = {'image': jnp.array([[[7, 0], [7, 1], [7, 2]], [[7, 0], [0, 1], [0, 2]]], jnp.uint8)}
  metrics = task.evaluate(params, state, {'image': batch['image'][:, :, None]})
  np.testing.assert_allclose(metrics['accuracy'], 3 / 4)  # all but 7 -> 256


def test_a_decoder_learns_a_text_by_heart():
  task = language_model(Decoder(width=32, depth=1, heads=2), (17, 1, 1))
  batch = texts([list(b'to be, or not to '), list(b'be: that is the q')])
  params, state = task.init(jax.random.key(0))
  tx = optax.adam(1e-2)

  @jax.jit
  def step(carry, _):
    params, opt = carry
    grads = jax.grad(lambda p: task.loss(p, state, jax.random.key(0), batch)[0])(params)
    updates, opt = tx.update(grads, opt)
    return (optax.apply_updates(params, updates), opt), None

  (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), None, length=80)
  metrics = task.evaluate(params, state, batch)
  assert metrics['bits'] < 1.0  # of 8 at the start
  assert metrics['accuracy'] > 0.8


def test_pretrained_parameters_are_taken_as_they_are():
  task = language_model(Decoder(width=8, depth=1, heads=1), (5, 1, 1))
  start = task.init(jax.random.key(3))
  again = task.init(jax.random.key(4), start)
  jax.tree.map(np.testing.assert_array_equal, again, start)


@pytest.mark.parametrize('shape', [(28, 28, 1), (1, 1, 1)])
def test_images_are_refused(shape):
  with pytest.raises(InputError, match=r'needs texts of at least two tokens, not .* a text source'):
    language_model(Successor(), shape)

"""The convolution of a GPU: the native one's numbers, mapped over images, kernels or both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from l2o.models.conv_shapes import LAYOUT
from l2o.models.mapped_conv import mapped_conv

FORMS = [
  ((3, 3), (1, 1), ((1, 1), (1, 1))),
  ((3, 5), (2, 1), ((0, 1), (2, 2))),
  ((1, 1), (2, 2), ((0, 0), (0, 0))),
  ((2, 3), (3, 2), ((2, 0), (0, 2))),
]
MAPS = {
  'nothing': [],
  'kernels': [(None, 0)],
  'images': [(0, None)],
  'images, then kernels': [(0, None), (None, 0)],
  'kernels, then images': [(None, 0), (0, None)],
  'both, then images': [(0, 0), (0, None)],
  'both, then both': [(0, 0), (0, 0)],
}


def own(x, w, strides, padding):
  return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=LAYOUT)


@pytest.fixture
def pair(rng):
  """Builds images and kernels with the leading axes of some maps."""

  def build(kernel, axes):
    lead = [[], []]
    for number, mapped in enumerate(axes):
      for i in (0, 1):
        lead[i] = [2 + number] * (mapped[i] is not None) + lead[i]
    x = rng.normal(size=(*lead[0], 2, 9, 8, 3))
    w = rng.normal(size=(*lead[1], *kernel, 3, 4))
    return jnp.asarray(x), jnp.asarray(w)

  with jax.enable_x64(True):  # sums of another order would hide small errors
    yield build


def assert_close(got, expected):
  for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    assert ours.dtype == jnp.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def mapped(fn, axes):
  for each in axes:
    fn = jax.vmap(fn, each)
  return fn


@pytest.mark.parametrize('axes', MAPS.values(), ids=MAPS)
@pytest.mark.parametrize(('kernel', 'strides', 'padding'), FORMS)
def test_values_and_gradients_are_jax_own(pair, kernel, strides, padding, axes):
  def slopes(conv):
    def loss(x, w):
      return jnp.sum(jnp.sin(mapped(lambda x, w: conv(x, w, strides, padding), axes)(x, w)))

    return jax.jit(jax.value_and_grad(loss, (0, 1)))(*pair_)

  pair_ = pair(kernel, axes)
  assert_close(slopes(mapped_conv), slopes(own))


@pytest.mark.parametrize('axes', [MAPS['nothing'], MAPS['both, then both']], ids=['one', 'many'])
def test_gradients_have_gradients(pair, axes):
  """As reverse-mode meta-gradients need them: through a step, of images and of kernels."""
  _, strides, padding = FORMS[1]

  def twice(conv):
    def loss(x, w):
      return jnp.sum(jnp.sin(conv(x, w, strides, padding)))

    def step(x, w):
      dx, dw = jax.grad(loss, (0, 1))(x, w)
      return loss(x - 0.1 * jnp.cos(dx), w - 0.1 * dw)

    return jax.jit(mapped(jax.grad(step, (0, 1)), axes))(*pair_)

  pair_ = pair(FORMS[1][0], axes)
  assert_close(twice(mapped_conv), twice(own))


def test_kernels_of_their_own_are_products_and_shared_ones_a_convolution():
  x, w = jnp.ones((2, 4, 4, 3)), jnp.ones((3, 3, 3, 4))

  def operations(axes, *arrays):
    fn = mapped(lambda x, w: mapped_conv(x, w, (1, 1), ((1, 1), (1, 1))), axes)
    loss = jax.grad(lambda x, w: jnp.sum(fn(x, w) ** 2), (0, 1))
    return jax.jit(loss).lower(*arrays).as_text()

  shared = operations([], x, w)
  assert 'stablehlo.convolution' in shared
  own_kernels = operations([(0, 0)], x[None], w[None])
  assert 'stablehlo.convolution' not in own_kernels
  assert 'stablehlo.dot_general' in own_kernels

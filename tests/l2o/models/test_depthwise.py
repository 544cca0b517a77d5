"""The depthwise convolution of a CPU against lax's grouped one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from l2o.models.conv import LAYOUT, Conv
from l2o.models.depthwise import depthwise_conv

# kernel, stride, (before, after) of rows and of columns, height
CASES = [
  (1, 2, ((0, 0), (0, 0)), 8),
  (3, 1, ((1, 1), (1, 1)), 8),
  (3, 2, ((0, 1), (1, 1)), 8),
  (3, 3, ((1, 2), (0, 1)), 9),
  (5, 1, ((2, 2), (2, 2)), 9),
  (5, 2, ((1, 2), (2, 2)), 8),
  (5, 2, ((6, 0), (0, 0)), 9),
]


def grouped(x, w, strides, padding):
  return lax.conv_general_dilated(
    x, w, strides, padding, dimension_numbers=LAYOUT, feature_group_count=x.shape[-1]
  )


def arguments(rng, kernel, height, channels=4):
  x = jnp.asarray(rng.normal(0.3, 1.0, (3, height, 11, channels)), jnp.float32)
  return x, jnp.asarray(rng.normal(-0.2, 1.0, (kernel, kernel, 1, channels)), jnp.float32)


@pytest.mark.parametrize(('kernel', 'stride', 'padding', 'height'), CASES)
def test_results_and_gradients_are_those_of_lax(rng, kernel, stride, padding, height):
  x, w = arguments(rng, kernel, height)

  def all_three(conv, x, w):
    y, back = jax.vjp(lambda x, w: conv(x, w, (stride, stride), padding), x, w)
    dy = jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape) + 0.1
    return (y, *back(dy))

  both = jax.jit(lambda x, w: (all_three(depthwise_conv, x, w), all_three(grouped, x, w)))
  for got, expected in zip(*both(x, w), strict=True):
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_rows_and_columns_have_strides_of_their_own(rng):
  x, w = arguments(rng, 3, 9)
  margins = ((1, 1), (0, 2))
  ours = depthwise_conv(x, w, (2, 1), margins)
  np.testing.assert_allclose(ours, grouped(x, w, (2, 1), margins), rtol=1e-4, atol=1e-4)


def test_it_maps_over_images_and_kernels_together(rng):
  x, w = arguments(rng, 3, 8)
  xs, ws = jnp.stack([x, 2 * x]), jnp.stack([w, w + 1])

  def gradients(conv):
    def loss(x, w):
      return jnp.sum(jnp.sin(conv(x, w, (2, 2), ((0, 1), (0, 1)))))

    return jax.jit(jax.vmap(jax.grad(loss, (0, 1))))(xs, ws)

  for got, expected in zip(gradients(depthwise_conv), gradients(grouped), strict=True):
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_rounded_once(rng):
  x, w = (a.astype(jnp.bfloat16) for a in arguments(rng, 3, 8))
  ours, back = jax.vjp(lambda x, w: depthwise_conv(x, w, (1, 1), ((1, 1), (1, 1))), x, w)
  gradients = back(jnp.ones_like(ours))
  assert [a.dtype for a in (ours, *gradients)] == [jnp.bfloat16] * 3
  wide = [a.astype(jnp.float32) for a in (x, w)]
  exact = depthwise_conv(*wide, (1, 1), ((1, 1), (1, 1)))
  np.testing.assert_array_equal(ours, exact.astype(jnp.bfloat16))


@pytest.mark.parametrize(
  ('groups', 'features', 'used'), [(4, 4, True), (4, 8, False), (2, 4, False)]
)
def test_the_layer_uses_it_for_one_kernel_for_each_channel(
  rng, groups, features, used, monkeypatch
):
  x, _ = arguments(rng, 3, 8)
  layer = Conv(features, (3, 3), feature_group_count=groups)
  variables = layer.init(jax.random.key(0), x)

  def program():
    return str(jax.make_jaxpr(lambda x: layer.apply(variables, x))(x))  # a new function: no cache

  ours = layer.apply(variables, x)
  assert ('conv_general_dilated' not in program()) == used
  monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')
  assert 'conv_general_dilated' in program()
  np.testing.assert_allclose(ours, layer.apply(variables, x), rtol=1e-4, atol=1e-5)

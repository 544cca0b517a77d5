"""The convolution of accelerators: JAX's own numbers, and mapped twice inside a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from l2o import platform
from l2o.inner.mapping import vectorized
from l2o.models.conv import Conv
from l2o.models.conv_shapes import LAYOUT
from l2o.models.native_conv import native_conv
from trainers.resources import meshes


@pytest.mark.parametrize('groups', [1, 2, 6])
@pytest.mark.parametrize(
  ('kernel', 'strides', 'padding'),
  [
    ((3, 3), (1, 1), ((1, 1), (1, 1))),
    ((3, 5), (2, 1), ((0, 1), (2, 2))),
    ((1, 1), (2, 2), ((0, 0), (0, 0))),
    ((2, 3), (3, 2), ((2, 0), (0, 2))),
  ],
)
def test_values_and_gradients_are_jax_own(rng, groups, kernel, strides, padding):
  x = jnp.asarray(rng.normal(size=(2, 9, 8, 6)), jnp.float32)
  w = jnp.asarray(rng.normal(size=(*kernel, 6 // groups, 12)), jnp.float32)

  def own(x, w):
    more = {'dimension_numbers': LAYOUT, 'feature_group_count': groups}
    return lax.conv_general_dilated(x, w, strides, padding, **more)

  expected, of_own = jax.vjp(own, x, w)
  got, of_ours = jax.vjp(lambda x, w: native_conv(x, w, strides, padding, groups), x, w)
  np.testing.assert_array_equal(got, expected)
  dy = jnp.asarray(rng.normal(size=expected.shape), jnp.float32)
  for ours, theirs in zip(of_ours(dy), of_own(dy), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('groups', [1, 4])
def test_it_is_mapped_over_kernels_and_then_over_images_and_kernels(rng, groups):
  """As in meta-training on an accelerator: candidates over a mesh, tasks of each at once."""
  layer = Conv(4, (3, 3), feature_group_count=groups)
  images = jnp.asarray(rng.normal(size=(3, 2, 6, 6, 4)), jnp.float32)  # [tasks, B, H, W, C]
  kernels = jnp.asarray(rng.normal(size=(4, 3, 3, 3, 4 // groups, 4)), jnp.float32)

  def slope(kernel, x):
    def loss(kernel):
      y = layer.apply({'params': {'kernel': kernel, 'bias': jnp.zeros(4)}}, x)
      return jnp.sum(jnp.sin(y))

    return jax.grad(loss)(kernel)

  def candidate(kernels, images):
    return vectorized(lambda pair, _: slope(*pair), (kernels, images), ())

  spread = meshes.sharded_map(meshes.make_mesh(population=2), vectorized)
  expected = jax.jit(lambda: spread(candidate, kernels, images))()
  with platform.assumed('gpu'):
    got = jax.jit(lambda: spread(candidate, kernels, images))()
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)

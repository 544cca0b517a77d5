"""Networks and the convolution they are made of."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from l2o.models.conv import LAYOUT, Conv, canonical_conv
from l2o.models.resnet import ResNet

CASES = list(itertools.product((1, 3, 5, 7), (1, 2), ('SAME', 'VALID'), (8, 9)))


def arguments(rng, kernel, stride, padding, size):
  x = jnp.asarray(rng.normal(0.3, 1.0, (3, size, 11, 2)), jnp.float32)
  w = jnp.asarray(rng.normal(-0.2, 1.0, (kernel, kernel, 2, 4)), jnp.float32)
  strides = (stride, stride)
  return x, w, strides, tuple(lax.padtype_to_pads(x.shape[1:3], w.shape[:2], strides, padding))


@pytest.mark.parametrize(('kernel', 'stride', 'padding', 'size'), CASES)
def test_results_and_gradients_are_those_of_lax(rng, kernel, stride, padding, size):
  x, w, strides, margins = arguments(rng, kernel, stride, padding, size)

  def both(x, w, dy=None):
    ours, back = jax.vjp(lambda x, w: canonical_conv(x, w, strides, margins), x, w)
    theirs, true = jax.vjp(
      lambda x, w: lax.conv_general_dilated(x, w, strides, margins, dimension_numbers=LAYOUT), x, w
    )
    dy = jnp.sin(jnp.arange(ours.size, dtype=jnp.float32)).reshape(ours.shape) + 0.1
    return (ours, *back(dy)), (theirs, *true(dy))

  for got, expected in zip(*jax.jit(both)(x, w), strict=True):
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_it_maps_over_images_and_kernels_together(rng):
  x, w, strides, margins = arguments(rng, 3, 2, 'SAME', 9)
  xs, ws = jnp.stack([x, 2 * x]), jnp.stack([w, w + 1])

  def loss(conv, x, w):
    return jnp.sum(jnp.sin(conv(x, w)))

  def lax_conv(x, w):
    return lax.conv_general_dilated(x, w, strides, margins, dimension_numbers=LAYOUT)

  def ours(x, w):
    return canonical_conv(x, w, strides, margins)

  for argument in (1, 2):
    got = jax.vmap(lambda x, w, a=argument: jax.grad(loss, a)(ours, x, w))(xs, ws)
    expected = jax.vmap(lambda x, w, a=argument: jax.grad(loss, a)(lax_conv, x, w))(xs, ws)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  'options',
  [
    {'kernel_size': (3, 3), 'strides': (2, 2)},
    {'kernel_size': (3, 3), 'padding': 'VALID', 'use_bias': False},
    {'kernel_size': (3, 3), 'feature_group_count': 2},
    {'kernel_size': (3, 3), 'kernel_dilation': (2, 2)},
    {'kernel_size': (3, 3), 'padding': ((2, 0), (0, 1))},
  ],
)
def test_the_layer_is_flax_own_in_parameters_and_results(rng, options):
  x = jnp.asarray(rng.normal(size=(2, 9, 8, 4)), jnp.float32)
  ours, theirs = Conv(6, **options), nn.Conv(6, **options)
  variables = theirs.init(jax.random.key(1), x)
  assert jax.tree.structure(ours.init(jax.random.key(1), x)) == jax.tree.structure(variables)
  np.testing.assert_allclose(
    ours.apply(variables, x), theirs.apply(variables, x), rtol=1e-4, atol=1e-5
  )


def test_the_canonical_form_is_used_on_a_cpu_and_flax_own_elsewhere(monkeypatch):
  x = jnp.ones((1, 8, 8, 3))
  layer = Conv(2, (3, 3))
  variables = layer.init(jax.random.key(0), x)

  def program():
    return str(jax.make_jaxpr(lambda x: layer.apply(variables, x))(x))  # a new function: no cache

  assert 'optimization_barrier' in program()
  monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')
  assert 'optimization_barrier' not in program()


def test_a_resnet_8_has_eight_layers_and_its_head_by_name():
  model = ResNet(num_classes=10, stem_stride=2)
  shapes = jax.eval_shape(
    lambda k: model.init(k, jnp.zeros((1, 32, 32, 3)), train=False), jax.random.key(0)
  )
  params = shapes['params']
  kernels = [x for path, x in jax.tree_util.tree_leaves_with_path(params) if 'kernel' in str(path)]
  shortcuts = [x for x in kernels if x.shape[:2] == (1, 1)]
  assert len(kernels) - len(shortcuts) == 8
  assert params['head']['kernel'].shape == (64, 10)
  # By hand: stem, three stages of two 3x3 convolutions, two shortcuts, two numbers for each
  # normalised channel, and the head.
  convolutions = 9 * (3 * 16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
  shortcuts = 16 * 32 + 32 * 64
  norms = 2 * (3 * 16 + 3 * 32 + 3 * 64)
  total = sum(x.size for x in jax.tree.leaves(params))
  assert total == convolutions + shortcuts + norms + 64 * 10 + 10


def test_the_stem_stride_halves_every_feature_map(rng):
  x = jnp.asarray(rng.normal(size=(2, 16, 16, 3)), jnp.float32)
  for stride, side in ((1, 16), (2, 8)):
    model = ResNet(num_classes=3, features=(4, 8), stem_stride=stride)
    _, seen = model.init_with_output(
      jax.random.key(0), x, train=False, capture_intermediates=True, mutable=True
    )
    stem = seen['intermediates']['Conv_0']['__call__'][0]
    assert stem.shape == (2, side, side, 4)


def test_resnet_34_has_the_tree_of_the_paper():
  model = ResNet(
    1000, features=(64, 128, 256, 512), blocks=(3, 4, 6, 3), stem=7, stem_stride=2, stem_pool=True
  )
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3)), False))
  leaves = jax.tree.leaves(shapes['params'])
  assert len(leaves) == 110
  assert sum(leaf.size for leaf in leaves) == 21_797_672  # torchvision's count
  images = jnp.zeros((2, 224, 224, 3))
  logits = jax.eval_shape(lambda v: model.apply(v, images, False), shapes)
  assert logits.shape == (2, 1000)

"""Published convolutional networks: their sizes, padding, statistics and precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import l2o
from l2o.models import MODELS, resnet
from l2o.models.cifar_resnet import Block
from l2o.models.conv import Conv
from l2o.models.layers import Layers, halving_pool, pooled
from l2o.registry import build

IMAGENET = {
  'name': 'resnet', 'features': (64, 128, 256, 512), 'stem': 7, 'stem_stride': 2,
  'stem_pool': True, 'padding': 'torch',
}  # fmt: skip
# name -> (config, classes, trainable parameters, statistics)
PUBLISHED = {
  'resnet34': ({**IMAGENET, 'blocks': (3, 4, 6, 3)}, 1000, 21_797_672, 17_024),
  'resnet50': (
    {**IMAGENET, 'blocks': (3, 4, 6, 3), 'bottleneck': True}, 1000, 25_557_032, 53_120,
  ),
  'resnet101': (
    {**IMAGENET, 'blocks': (3, 4, 23, 3), 'bottleneck': True}, 1000, 44_549_160, 105_344,
  ),
  'resnet20': ({'name': 'cifar_resnet'}, 10, 269_722, 1_376),
  'resnet32': ({'name': 'cifar_resnet', 'depth': 32}, 10, 464_154, 2_272),
  'resnet56': ({'name': 'cifar_resnet', 'depth': 56}, 10, 853_018, 4_064),
  'efficientnet_lite0': ({'name': 'efficientnet_lite0'}, 1000, 4_652_008, 42_016),
  'xception': ({'name': 'xception'}, 1000, 22_855_952, 54_528),
}  # fmt: skip
SMALL = {
  'resnet': {'name': 'resnet', 'features': (4, 8), 'stem_stride': 2},
  'bottleneck': {'name': 'resnet', 'features': (4, 8), 'bottleneck': True, 'padding': 'torch'},
  'cifar_resnet': {'name': 'cifar_resnet', 'depth': 8},
}


def small(name, dtype=None):
  return build(MODELS, {**SMALL[name], 'dtype': dtype}, 'model', num_classes=3)


@functools.cache
def started(name):
  """Images [4, 16, 16, 3] and the variables of a small network."""
  images = jnp.asarray(np.random.default_rng(0).normal(0.5, 2.0, (4, 16, 16, 3)), jnp.float32)
  model = small(name)
  return images, jax.jit(lambda k: model.init(k, images, train=False))(jax.random.key(0))


def logits_of(model, variables, images):
  return np.asarray(jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images))


def count(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize('name', PUBLISHED)
def test_sizes_are_the_published_ones(name):
  spec, classes, trainable, statistics = PUBLISHED[name]
  model = build(MODELS, spec, 'model', num_classes=classes)
  images = jax.ShapeDtypeStruct((2, 97, 80, 3), jnp.float32)
  init = functools.partial(model.init_with_output, train=False)
  logits, variables = jax.eval_shape(init, jax.random.key(0), images)
  assert count(variables['params']) == trainable
  assert count(variables['batch_stats']) == statistics
  assert (logits.shape, logits.dtype) == ((2, classes), jnp.float32)


@pytest.mark.parametrize('name', ['resnet50', 'efficientnet_lite0', 'xception'])
def test_in_bfloat16_parameters_statistics_and_logits_are_float32(name):
  spec, classes, trainable, statistics = PUBLISHED[name]
  model = build(MODELS, {**spec, 'dtype': 'bfloat16'}, 'model', num_classes=classes)

  def run(images):
    variables = model.init(jax.random.key(0), images, train=False)
    kept = {'mutable': ['batch_stats', 'intermediates'], 'capture_intermediates': True}
    return variables, model.apply(variables, images, train=True, **kept)

  variables, (logits, after) = jax.eval_shape(
    run, jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
  )
  assert count(variables['params']) == trainable
  assert count(after['batch_stats']) == statistics
  kept = jax.tree.leaves((variables, logits, after['batch_stats']))
  assert {x.dtype for x in kept} == {np.dtype(jnp.float32)}
  seen = after['intermediates']
  assert {x.dtype for k, v in seen.items() if k not in ('head', '__call__')
          for x in jax.tree.leaves(v)} == {np.dtype(jnp.bfloat16)}  # fmt: skip


@pytest.mark.parametrize('name', SMALL)
def test_bfloat16_is_close_to_float32(name):
  images, variables = started(name)
  exact, near = (logits_of(small(name, d), variables, images) for d in (None, 'bfloat16'))
  assert 0 < np.max(np.abs(exact - near)) < 0.05 * np.ptp(exact)


@pytest.mark.parametrize('name', SMALL)
def test_training_uses_the_batch_and_moves_the_statistics(name):
  images, variables = started(name)
  model = small(name)
  still = logits_of(model, variables, images)
  alone = logits_of(model, variables, images.at[1:].set(0.0))
  np.testing.assert_allclose(still[0], alone[0], atol=1e-5)
  apply = functools.partial(model.apply, train=True, mutable=['batch_stats'])
  trained, after = jax.jit(apply)(variables, images)
  assert np.max(np.abs(trained[0] - still[0])) > 1e-2
  for path, (old, new) in zip_leaves(variables['batch_stats'], after['batch_stats']):
    assert np.any(old != new), path


def zip_leaves(old, new):
  leaves = jax.tree_util.tree_leaves_with_path(old)
  return [(path, (a, b)) for (path, a), b in zip(leaves, jax.tree.leaves(new), strict=True)]


@pytest.mark.parametrize(('momentum', 'epsilon'), [(0.9, 1e-5), (0.99, 1e-3)])
def test_momentum_and_epsilon_are_those_given(momentum, epsilon):
  norm = Layers.of(True, 'torch', None, momentum, epsilon).norm()
  x = jnp.asarray([[0.01], [0.03]])  # mean 0.02, variance 1e-4
  y, variables = jax.jit(norm.init_with_output)(jax.random.key(0), x)
  np.testing.assert_allclose(y[:, 0], np.array([-0.01, 0.01]) / np.sqrt(1e-4 + epsilon), rtol=1e-3)
  _, after = norm.apply(variables, x, mutable=['batch_stats'])
  np.testing.assert_allclose(after['batch_stats']['mean'], [0.02 * (1 - momentum)], rtol=1e-4)


def test_the_networks_have_their_own_momentum_and_epsilon():
  known = {'efficientnet_lite0': (0.99, 1e-3, 'same'), 'xception': (0.9, 1e-5, None)}
  for name, expected in known.items():
    model = build(MODELS, {'name': name}, 'model', num_classes=2)
    assert (model.momentum, model.epsilon, getattr(model, 'padding', None)) == expected


def windows(image, kernel, before, after, fill):
  """Windows [OH, OW, kernel, kernel] of a padded image [H, W], at stride 2."""
  padded = np.pad(image, (before, after), constant_values=fill)
  steps = range(0, len(padded) - kernel + 1, 2)
  return np.array([[padded[i : i + kernel, j : j + kernel] for j in steps] for i in steps])


@pytest.mark.parametrize(
  ('kernel', 'torch', 'same'), [(3, (1, 1), (0, 1)), (7, (3, 3), (2, 3)), (1, (0, 0), (0, 0))]
)
@pytest.mark.parametrize('groups', [1, 2])
def test_strided_convolutions_are_padded_as_their_framework_does(rng, kernel, torch, same, groups):
  image = np.outer(np.arange(1.0, 9.0), np.square(np.arange(8.0)) - 3).astype(np.float32)
  image[1, 6] += 50  # off-centre
  x = jnp.asarray(np.stack([image, 2 * image], -1)[None])
  weights = rng.normal(0.4, 1.0, (kernel, kernel, 2 // groups, 2)).astype(np.float32)
  for kind, margins in (('torch', torch), ('same', same)):
    layer = Layers.of(False, kind).conv(2, kernel, 2, groups=groups)
    got = jax.jit(layer.apply)({'params': {'kernel': weights}}, x)
    cut = windows(image, kernel, *margins, fill=0.0)
    taps = weights[:, :, 0] * [1, 2] if groups == 2 else weights[:, :, 0] + 2 * weights[:, :, 1]
    expected = np.einsum('ijkl,klo->ijo', cut, taps)
    np.testing.assert_allclose(got[0], expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(('kind', 'margins'), [('torch', (1, 1)), ('same', (0, 1))])
def test_pooling_is_padded_alike_and_never_wins_with_its_margin(rng, kind, margins):
  image = -1 - rng.uniform(size=(8, 8)).astype(np.float32)
  expected = windows(image, 3, *margins, fill=-np.inf).max((2, 3))
  got = halving_pool(jnp.asarray(image)[None, :, :, None], kind)
  np.testing.assert_array_equal(got[0, :, :, 0], expected)


def strided(**arguments):
  """(kernel, padding) of each convolution of a small ResNet that has stride 2, in order."""
  spec = {'name': 'resnet', 'features': (4, 8), 'stem': 7, 'stem_stride': 2, 'stem_pool': True}
  model = build(MODELS, {**spec, **arguments}, 'model', num_classes=3)
  found = []

  def watch(following, args, kwargs, context):
    layer = context.module
    if isinstance(layer, Conv) and layer.strides == (2, 2):
      found.append((layer.kernel_size[0], layer.padding))
    return following(*args, **kwargs)

  with nn.intercept_methods(watch):
    jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False))
  return found


@pytest.mark.parametrize('bottleneck', [False, True])
def test_a_resnets_padding_reaches_every_strided_layer(monkeypatch, bottleneck):
  pools = []
  monkeypatch.setattr(resnet, 'halving_pool', lambda x, kind: pools.append(kind) or x)
  # The stem, the second stage's first 3x3 convolution and its shortcut.
  margins = [((3, 3), (3, 3)), ((1, 1), (1, 1)), ((0, 0), (0, 0))]
  kernels = (7, 3, 1)
  torch = strided(padding='torch', bottleneck=bottleneck)
  assert torch == list(zip(kernels, margins, strict=True))
  same = [(kernel, 'SAME') for kernel in kernels]
  assert strided(padding='same', bottleneck=bottleneck) == same
  assert strided(bottleneck=bottleneck) == same  # released optimizers were made with it
  assert pools == ['torch', 'same', 'same']


def test_a_shortcut_of_option_a_takes_every_other_pixel_and_adds_channels_on_both_sides(rng):
  block = Block(8, 2, Layers.of(False, 'torch'))
  x = jnp.asarray(rng.uniform(1, 2, (1, 6, 6, 4)), jnp.float32)
  variables = jax.jit(block.init)(jax.random.key(0), x)
  params = variables['params']
  # Without its second convolution a block is its shortcut.
  params = {**params, 'conv2': jax.tree.map(jnp.zeros_like, params['conv2'])}
  y = jax.jit(block.apply)({**variables, 'params': params}, x)
  assert y.shape == (1, 3, 3, 8)
  np.testing.assert_array_equal(y[..., 2:6], x[:, ::2, ::2])
  np.testing.assert_array_equal(y[..., jnp.array([0, 1, 6, 7])], 0.0)


def test_pooling_over_the_image_is_exact_in_bfloat16():
  x = jnp.full((1, 64, 64, 1), 1.0, jnp.bfloat16).at[0, 0, 0, 0].set(2.0)
  np.testing.assert_allclose(pooled(x), [[1 + 1 / 4096]], rtol=1e-7)


NONSENSE = [
  ({'name': 'resnet', 'padding': 'valid'}, "padding must be 'same' or 'torch', not 'valid'"),
  ({'name': 'resnet', 'dtype': 'float16'}, "dtype must be 'float32' or 'bfloat16' or None"),
  ({'name': 'resnet', 'bottleneck': 1}, 'bottleneck must be True or False'),
  ({'name': 'resnet', 'padding': 'torch', 'stem': 4}, "'torch' needs kernels of odd size, not 4"),
  ({'name': 'cifar_resnet', 'depth': 18}, r'cifar_resnet\.depth must be 6 n \+ 2 .*, not 18'),
  ({'name': 'cifar_resnet', 'depth': 2}, r'cifar_resnet\.depth must be 6 n \+ 2 .*, not 2'),
  ({'name': 'efficientnet_lite0', 'epsilon': -1e-3}, 'epsilon must be at least 0'),
  ({'name': 'efficientnet_lite0', 'padding': 'torhc'}, "padding must be 'same' or 'torch'"),
  ({'name': 'xception', 'momentum': 1.0}, 'momentum must be at least 0 and below 1'),
  ({'name': 'xception', 'padding': 'same'}, "has no 'padding'"),
]


@pytest.mark.parametrize(('spec', 'says'), NONSENSE)
def test_nonsense_is_refused_in_one_sentence(spec, says):
  def use():
    model = build(MODELS, spec, 'model', num_classes=2)
    model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)

  with pytest.raises(l2o.InputError, match=says):
    jax.eval_shape(use)

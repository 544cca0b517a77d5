"""Vision transformers: the literature's sizes, and a NumPy forward pass."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.errors import InputError
from l2o.models.vit import ViT


def count(model, image):
  shapes = jax.eval_shape(
    lambda: model.init(jax.random.key(0), jnp.zeros((1, image, image, 3)), train=False)
  )
  return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def formula(width, depth, patch, tokens, classes):
  """Patches, positions and token; 4 D^2 of attention and 8 D^2 of MLP, biases and norms; head."""
  block = 12 * width**2 + 13 * width
  return (
    (3 * patch**2 + 1) * width
    + (tokens + 1) * width
    + depth * block
    + 2 * width
    + (width + 1) * classes
  )


HUB = {'depth': 9, 'width': 192, 'heads': 12, 'patch': 8}


@pytest.mark.parametrize(
  ('arguments', 'image', 'classes', 'parameters'),
  [
    ({'size': 'Ti'}, 224, 1000, 5_717_416),
    ({'size': 'S'}, 224, 1000, 22_050_664),
    ({'size': 'B'}, 224, 1000, 86_567_656),
    ({'size': 'L'}, 224, 1000, 304_326_632),
    (HUB, 32, 10, 4_046_602),
    ({'size': 'L', 'patch': 14}, 224, 1000, formula(1024, 24, 14, 257, 1000)),
    ({'size': 'B', 'patch': 8}, 32, 10, formula(768, 12, 8, 17, 10)),
  ],
)
def test_the_literatures_number_of_parameters(arguments, image, classes, parameters):
  assert count(ViT(classes, **arguments), image) == parameters


def test_hubs_own_follows_from_the_formula():
  assert formula(192, 9, 8, 17, 10) == 4_046_602
  assert count(ViT(10, pooling='mean', **HUB), 32) == 4_046_602 - 2 * 192  # no token, no place


def drawn(model, rng, images):
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))['params']
  return jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(x.dtype), shapes)


def logits_of(model, params, images):
  return jax.jit(partial(model.apply, train=False))({'params': params}, images)


def norm(x, p):
  centred = x - x.mean(axis=-1, keepdims=True)
  return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * p['scale'] + p['bias']


def dense(x, p):
  return x @ p['kernel'] + p['bias']


def attention(x, p, heads):
  width = x.shape[-1]
  q, k, v = np.split(dense(x, p['qkv']), 3, axis=-1)
  mixed = np.zeros_like(x)
  for at in range(0, width, width // heads):
    part = slice(at, at + width // heads)
    scores = np.exp(q[..., part] @ k[..., part].swapaxes(1, 2) / math.sqrt(width // heads))
    mixed[..., part] = scores / scores.sum(axis=-1, keepdims=True) @ v[..., part]
  return dense(mixed, p['out'])


def forward(p, images, patch, depth, heads, pooling):
  """Float64, written from the paper."""
  count, height, width, channels = images.shape
  x = images.reshape(count, height // patch, patch, width // patch, patch, channels)
  x = x.transpose(0, 1, 3, 2, 4, 5).reshape(count, -1, patch * patch * channels)
  x = x @ p['patches']['kernel'].reshape(patch * patch * channels, -1) + p['patches']['bias']
  if pooling == 'token':
    x = np.concatenate([np.repeat(p['class_token'], count, axis=0), x], axis=1)
  x = x + p['positions']
  for number in range(depth):
    block = p[f'block_{number}']
    x = x + attention(norm(x, block['norm_1']), block['attention'], heads)
    y = dense(norm(x, block['norm_2']), block['hidden'])
    y = y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
    x = x + dense(y, block['out'])
  x = norm(x, p['norm'])
  return dense(x[:, 0] if pooling == 'token' else x.mean(axis=1), p['head'])


@pytest.mark.parametrize('pooling', ['token', 'mean'])
def test_the_logits_against_numpy(rng, pooling):
  model = ViT(5, patch=4, width=12, depth=2, heads=3, pooling=pooling)
  images = rng.uniform(size=(3, 8, 12, 3))
  params = drawn(model, rng, images)
  logits = logits_of(model, params, images.astype(np.float32))
  wanted = forward(jax.tree.map(np.float64, params), images, 4, 2, 3, pooling)
  np.testing.assert_allclose(logits, wanted, atol=1e-4 * np.ptp(wanted))


def test_bfloat16_is_of_the_computation_alone(rng):
  images = jnp.asarray(rng.uniform(size=(2, 8, 8, 3)), jnp.float32)
  plain, half = (ViT(5, patch=4, width=12, depth=2, heads=3, dtype=d) for d in (None, 'bfloat16'))
  params = drawn(half, rng, images)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype('float32')}
  logits, wanted = (logits_of(model, params, images) for model in (half, plain))
  assert logits.dtype == jnp.float32
  assert 0 < np.max(np.abs(logits - wanted)) < 0.05 * np.ptp(wanted)


@pytest.mark.parametrize(
  ('arguments', 'says'),
  [
    ({'patch': 5}, r'vit\.patch must divide the height and width .* 5 does not divide 8 x 8'),
    ({'patch': 4, 'width': 10, 'heads': 3}, r'vit\.heads must divide the width: 3 does not'),
  ],
)
def test_a_shape_that_does_not_divide_is_refused(arguments, says):
  with pytest.raises(InputError, match=says):
    count(ViT(5, **arguments), 8)

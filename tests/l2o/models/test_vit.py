"""Vision transformers: the literature's sizes. Their logits: test_torch_logits.py."""

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

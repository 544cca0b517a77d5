"""Networks that end in features: the same as before the head, of files with and without one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from l2o.errors import InputError
from l2o.models.cifar_resnet import CifarResNet
from l2o.models.efficientnet_lite import EfficientNetLite0
from l2o.models.lane_keeping import lane_keeping
from l2o.models.pretrained import ARCHITECTURES
from l2o.models.pretrained.weights import load_weights
from l2o.models.resnet import ResNet
from l2o.models.vit import ViT
from l2o.models.xception import Xception
from l2o.tasks.classification import classification
from tests.given_weights import resnet_tensors

SMALL = [
  partial(CifarResNet, depth=8),
  partial(ResNet, features=(4, 8)),
  partial(ViT, width=12, depth=1, heads=3, patch=8),
]
LARGE = [EfficientNetLite0, Xception]
WIDTHS = {'CifarResNet': 64, 'EfficientNetLite0': 1280, 'ResNet': 8, 'ViT': 12, 'Xception': 2048}
KEY = jax.random.key(0)


@pytest.mark.parametrize('make', SMALL, ids=lambda make: make.func.__name__)
def test_features_are_what_the_head_sees(make, rng):
  images = jnp.asarray(rng.normal(size=(2, 16, 16, 3)), jnp.float32)
  logits, variables = jax.jit(partial(make(4).init_with_output, train=False))(KEY, images)
  head = variables['params'].pop('head')
  features = jax.jit(partial(make(0).apply, train=False))(variables, images)
  found = np.asarray(features) @ np.asarray(head['kernel']) + np.asarray(head['bias'])
  np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('make', SMALL + LARGE, ids=lambda x: getattr(x, 'func', x).__name__)
def test_every_architecture_can_end_in_features(make):
  images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
  model = make(0)
  found, variables = jax.eval_shape(partial(model.init_with_output, train=False), KEY, images)
  assert found.shape == (2, WIDTHS[type(model).__name__])
  assert 'head' not in variables['params']


def test_these_are_all_architectures():
  assert WIDTHS.keys() == ARCHITECTURES.keys()


def test_the_files_head_is_passed_over_and_nothing_else(tmp_path):
  path, tensors = tmp_path / 'weights.safetensors', resnet_tensors()

  def load(tensors, classes):
    safetensors.numpy.save_file(tensors, path)
    return load_weights(path, CifarResNet(classes, depth=8), (32, 32, 1), KEY)

  whole = load(tensors, 10)
  bare = {name: x for name, x in tensors.items() if not name.startswith('linear.')}
  for given in (tensors, bare):
    found = load(given, 0)
    assert not found.fresh_head
    jax.tree.map(np.testing.assert_array_equal, {**found.params, 'head': 0}, {
      **whole.params, 'head': 0,
    })  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, found.model_state, whole.model_state)
  with pytest.raises(InputError, match=r'no place for linear\.extra$'):
    load({**tensors, 'linear.extra': tensors['linear.bias']}, 0)
  del tensors['conv1.weight']
  with pytest.raises(InputError, match=r'it lacks conv1\.weight$'):
    load(tensors, 0)


def test_a_classifier_needs_classes():
  with pytest.raises(InputError, match=r'num_classes must be at least 1 in classification, not 0'):
    classification(CifarResNet(0, depth=8), (32, 32, 3))


@pytest.mark.parametrize(
  ('encoder', 'says'),
  [
    ({'name': 'mlp'}, 'must have the name cifar_resnet, efficientnet_lite0, .* and no num_classes'),
    ({'name': 'cifar_resnet', 'num_classes': 10}, 'must have the name .* and no num_classes'),
    ({'name': 'lstm'}, 'encoder lstm needs num_outputs'),
    ({'name': 'lstm', 'num_outputs': 2}, "must have the name .* not {'name': 'lstm'"),
    ({'name': 'lite0'}, "there is no encoder 'lite0'"),
  ],
)
def test_an_encoder_that_is_none_is_refused(encoder, says):
  with pytest.raises(InputError, match=says):
    lane_keeping({'name': 'lstm', 'num_outputs': 1}, encoder=encoder)

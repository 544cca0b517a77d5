"""Published networks beside those of test_torch_logits.py: names, and two real files' logits."""

import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.models.cifar_resnet import CifarResNet
from l2o.models.efficientnet_lite import EfficientNetLite0
from l2o.models.pretrained.spelling import is_counter
from l2o.models.pretrained.weights import _shapes, _spelling, _wanted, load_weights
from l2o.models.resnet import ResNet
from l2o.models.vit import ViT
from l2o.tasks.classification import classification
from tests.l2o.models import torch_networks as torch

SHARED = pathlib.Path(__file__).resolve().parents[4] / 'shared'
GOLDEN, FILES = SHARED / 'golden', SHARED / 'data' / 'pretrained'
needs_files = pytest.mark.skipif(not FILES.exists(), reason='no ../shared with pretrained networks')
KEY = jax.random.key(0)


def assert_named(model, image_shape, shapes, publisher):
  """Both ways, by shapes alone: some of these networks are large."""
  tensors = {name: np.empty(shape) for name, shape in shapes.items() if not is_counter(name)}
  held = _shapes(model, image_shape)
  spelling = _spelling('file', tensors, model, image_shape, held)
  parts = _wanted(spelling, held)
  assert len({part.name for part in parts}) == len(parts)
  assert {part.name: part.shape for part in parts} == {n: x.shape for n, x in tensors.items()}
  assert spelling.publisher == publisher
  return spelling


@pytest.mark.parametrize(('blocks', 'bottleneck'), [((3, 4, 6, 3), False), ((3, 4, 23, 3), True)])
def test_resnet_34_and_101(blocks, bottleneck):
  widths, stem = (64, 128, 256, 512), {'stem': 7, 'stem_stride': 2, 'stem_pool': True}
  model = ResNet(1000, widths, blocks, bottleneck=bottleneck, padding='torch', **stem)
  shapes = torch.resnet(widths, blocks, 1000, 7, bottleneck)
  assert_named(model, (224, 224, 3), shapes, 'torchvision and timm')


def test_vit_large():
  timm = torch.timm_vit(1024, 24, 16, 196, 1000)
  assert_named(ViT(1000, 'L'), (224, 224, 3), timm, 'timm')
  assert_named(ViT(1000, 'L'), (224, 224, 3), torch.torchvision_vit(timm), 'torchvision')


@pytest.mark.parametrize('depth', [20, 32, 56])
def test_resnets_of_cifar(depth):
  blocks = ((depth - 2) // 6,) * 3
  shapes = torch.resnet((16, 32, 64), blocks, 10, 3, fc='linear')
  shapes = {name: shape for name, shape in shapes.items() if 'downsample' not in name}
  spelling = assert_named(CifarResNet(10, depth), (32, 32, 3), shapes, 'pytorch_resnet_cifar10')
  assert spelling.preprocessing.size == 32


@needs_files
@pytest.mark.parametrize(
  ('model', 'file', 'golden', 'size'),
  [
    (CifarResNet(10), 'resnet20_cifar10', 'resnet20_cifar10', 32),
    (EfficientNetLite0(1000), 'efficientnet_lite0_imagenet', 'efficientnet_lite0', 128),
  ],
)
def test_the_logits_of_the_original_code_come_back(model, file, golden, size):
  recorded = np.load(GOLDEN / f'{golden}.npz')
  images, wanted = recorded['image'], recorded['logits']
  weights = load_weights(FILES / f'{file}.safetensors', model, images.shape[1:], KEY)
  assert not weights.fresh_head
  variables = {'params': weights.params, **weights.model_state}
  inputs = weights.preprocessing._replace(size=size)(images)
  logits = jax.jit(partial(model.apply, train=False))(variables, inputs)
  np.testing.assert_allclose(logits, wanted, atol=1e-4 * np.ptp(wanted), rtol=0)


@needs_files
def test_resnet20_classifies_cifar10():
  """As a task, which prepares the images as the weights expect."""
  model, data = CifarResNet(10), np.load(FILES / 'cifar10_500.npz')
  weights = load_weights(FILES / 'resnet20_cifar10.safetensors', model, (32, 32, 3), KEY)
  accuracies = [
    jax.jit(classification(model, (32, 32, 3), preprocessing=given).evaluate)(
      weights.params,
      weights.model_state,
      {'image': jnp.asarray(data['image']), 'label': jnp.asarray(data['label'])},
    )['accuracy']
    for given in (weights.preprocessing, None)
  ]
  assert accuracies[0] == pytest.approx(0.906)
  assert accuracies[1] < 0.8

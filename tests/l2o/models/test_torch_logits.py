"""Networks as timm and torchvision build them: recorded logits come back through `load_weights`."""

import functools
import json
from functools import partial

import jax
import numpy as np
import pytest
import safetensors.numpy

from l2o.models.efficientnet_lite import EfficientNetLite0
from l2o.models.pretrained.weights import load_weights
from l2o.models.resnet import ResNet
from l2o.models.vit import ViT
from l2o.models.xception import Xception
from tools.torch_weights import drawn, images

IMAGENET = {
  'features': (64, 128, 256, 512), 'stem': 7, 'stem_stride': 2, 'stem_pool': True,
  'padding': 'torch',
}  # fmt: skip
RESNET50 = {'blocks': (3, 4, 6, 3), 'bottleneck': True, **IMAGENET}
SMALL_VIT = {'patch': 8, 'width': 48, 'depth': 2, 'heads': 3}
TORCHS = {'padding': 'torch', 'epsilon': 1e-5}
# recorded network -> model, publisher, number of sizes of images
NETWORKS = {
  'torchvision/resnet18': (ResNet(1000, blocks=2, **IMAGENET), 'torchvision and timm', 1),
  'timm/resnet50': (ResNet(1000, **RESNET50), 'torchvision and timm', 1),
  'timm/legacy_xception': (Xception(1000), 'timm', 1),
  'timm/efficientnet_lite0': (EfficientNetLite0(1000, **TORCHS), "timm's efficientnet_lite0", 1),
  'timm/tf_efficientnet_lite0': (EfficientNetLite0(1000), "timm's tf_efficientnet_lite0", 1),
  'timm/vit_base_patch16_224': (ViT(1000, 'B'), 'timm', 2),
  'timm/small_vit': (ViT(10, pooling='mean', **SMALL_VIT), 'timm', 2),
  'torchvision/small_vit': (ViT(10, **SMALL_VIT), 'torchvision', 1),
}


@functools.cache
def recorded():
  """Network -> what was recorded of it."""
  found = {}
  with np.load('tests/golden/torch_logits.npz') as file:
    for key, array in file.items():
      network, what = key.rsplit('/', 1)
      found.setdefault(network, {})[what] = array if array.ndim else json.loads(str(array))
  return found


def test_each_recorded_network_is_compared():
  assert recorded().keys() == NETWORKS.keys()


def each_size():
  """(network, number of its size); positions of the small ViT are resized in every run."""
  for name, (_, _, count) in NETWORKS.items():
    for number in range(count):
      slow = number > 0 and name == 'timm/vit_base_patch16_224'
      yield pytest.param(name, number, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.large  # up to a gigabyte, for the ViT-B
@pytest.mark.parametrize(('name', 'number'), [*each_size()])
def test_the_logits_are_torchs(tmp_path, name, number):
  (model, publisher, count), found = NETWORKS[name], recorded()[name]
  path = tmp_path / 'weights.safetensors'
  safetensors.numpy.save_file(drawn(found['shapes'], found['scales']), path)
  sizes = {key: wanted for key, wanted in found.items() if key.startswith('logits_')}
  assert len(sizes) == count
  key, wanted = [*sizes.items()][number]
  height, width = map(int, key.removeprefix('logits_').split('x'))
  weights = load_weights(path, model, (height, width, 3), jax.random.key(0))
  assert (weights.publisher, weights.fresh_head) == (publisher, False)
  preprocessing = weights.preprocessing
  variables = jax.device_put({'params': weights.params, **weights.model_state})
  del weights  # a few hundred megabytes
  logits = jax.jit(partial(model.apply, train=False))(variables, images(height, width))
  np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5 * np.ptp(wanted))
  path.unlink()  # pytest keeps folders
  if expected := found.get('images'):
    mean, std, size, interpolation = preprocessing
    for ours, theirs in ((mean, 'mean'), (std, 'std')):
      assert list(np.broadcast_to(ours, 3)) == expected[theirs]
    assert [3, size, size] == expected['input_size']
    if name != 'timm/resnet50':  # its names are torchvision's, which resizes bilinearly
      assert interpolation == expected['interpolation']

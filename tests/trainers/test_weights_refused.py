"""Starts from files that no run can begin with: one sentence, and nothing is written."""

import pytest
import safetensors.numpy

from configs import common
from l2o.errors import InputError
from l2o.models.cifar_resnet import CifarResNet
from l2o.models.efficientnet_lite import EfficientNetLite0
from l2o.models.pretrained import ARCHITECTURES
from l2o.models.pretrained.weights import _spellings
from l2o.models.resnet import ResNet
from l2o.models.vit import ViT
from l2o.models.xception import Xception
from tests.given_weights import job_config, pipeline_config, vit_tensors, write_files
from tests.l2o.models import torch_networks as torch
from tests.tiny_run import execute
from trainers.jobs import pipeline


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
  write_files(tmp_path)
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.mark.parametrize(
  ('start', 'says'),
  [
    ({}, 'starts.main needs source, classes, or weights in their place'),
    ({'weights': ''}, 'starts.main needs source, classes'),
    ({'classes': 'pretrain'}, 'starts.main needs source$'),
    ({'weights': 'vit.safetensors', 'source': 'glyphs', 'number': 1}, 'leave out source and numb'),
    ({'weights': 3}, 'starts.main.weights must be a string, not 3'),
    ({'weight': 'vit.safetensors'}, "has no 'weight' .did you mean 'weights'"),
    ({'weights': 'no.safetensors'}, 'main.weights: there is no file no.safetensors'),
    ({'weights': '.'}, r'main.weights: there is no file \.'),
    ({'weights': 'resnet.safetensors'}, 'main.weights: resnet.safetensors has no tensor that ViT'),
  ],
)
def test_a_start_that_is_none_is_refused(here, start, says):
  config = pipeline_config(**{'pretrain.starts.main': start})
  with pytest.raises(InputError, match=says):
    execute(config, here / 'refused')
  assert not (here / 'refused').exists()


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'start': 'no.safetensors'}, 'start: there is no file no.safetensors'),
    ({'start': 'pickle.pth'}, 'start: pickle.pth holds a pickle'),
    ({'start': 'damaged.safetensors'}, 'start: damaged.safetensors is damaged or holds no weights'),
    ({'start': 'resnet'}, 'holds no training job that has ended'),
    ({'start': 'vit.safetensors'}, 'start: vit.safetensors has no tensor that CifarResNet has'),
    ({'model.depth': 14}, r'start: resnet.safetensors does not fit CifarResNet .* it lacks layer1'),
    ({'model': {'name': 'mlp'}}, 'start: there is no architecture with known names .* CifarResNet'),
    (
      {'model': {}},
      'start: weights are for a network on images, which this config lacks; leave start',
    ),
    (
      {'batch_source': {'name': 'sines'}, 'model.num_classes': 2},
      'start: weights are for a network',
    ),
    ({'task.name': 'function'}, 'start: weights need a task with preprocessing, such as'),
    ({'task': {}}, "there is no task ''"),
    ({'task.preprocessing': 'own'}, "task.preprocessing must be a block of keys, not 'own'"),
    ({'task.preprocessing.size': 0}, 'task.preprocessing.size must be '),
    ({'task.preprocessing': {'sizes': 9}}, "task.preprocessing has no 'sizes'"),
    ({'task.preprocessing': {'size': 12}}, 'task.preprocessing.mean must have 1 number or one for'),
    ({'task': {'name': 'classification', 'crop': -1}}, 'task.crop must be at least 0, not -1'),
    ({'task': {'name': 'classification', 'crop': 29}}, 'task.crop must be 0 to 28, not 29'),
  ],
)
def test_a_job_that_cannot_start_is_refused(here, changes, says):
  (here / 'pickle.pth').write_bytes(b'\x80\x04.')
  (here / 'damaged.safetensors').write_bytes((here / 'vit.safetensors').read_bytes()[:-9])
  config = job_config()
  config['model']['num_classes'] = 4
  with pytest.raises(InputError, match=says):
    execute(common.with_diff(config, changes), here / 'refused')
  assert not (here / 'refused').exists()


def test_starts_that_need_different_images_are_refused_unless_the_task_says_which(here):
  safetensors.numpy.save_file(
    torch.torchvision_vit(vit_tensors()), here / 'torchvision.safetensors'
  )
  config = pipeline_config(**{'pretrain.starts.other': {'weights': 'torchvision.safetensors'}})
  with pytest.raises(InputError, match=r'main.weights and .*other.weights need different .*\.mean'):
    pipeline.build(config)
  config['task']['preprocessing'] |= {'mean': (0.5,), 'std': (0.5,), 'interpolation': 'bilinear'}
  plan = pipeline.build(config)
  for given in plan.given.values():
    assert given.about.preprocessing['interpolation'] == 'bilinear'


def test_all_publishers_of_an_architecture_mean_images_of_one_size():
  models = CifarResNet(2), EfficientNetLite0(2), ResNet(2), ViT(2), Xception(2)
  assert {type(model).__name__ for model in models} == set(ARCHITECTURES)
  for model in models:
    assert len({s.preprocessing.size for s in _spellings(model, (224, 224, 3))}) == 1

"""Starts from files of weights, small: two networks for grey images, and configs with them."""

import safetensors.numpy

from configs import common
from tests.l2o.models import torch_networks as torch
from tests.tiny_run import tiny
from tools.torch_weights import drawn

VIT = {'width': 12, 'depth': 1, 'heads': 3, 'patch': 14}
HALVES = {'mean': (0.5,), 'std': (0.5,), 'interpolation': 'bicubic'}  # of timm's ViTs
RESNET = {'mean': (0.4,), 'std': (0.2,), 'size': 12}  # ImageNet's are for three channels
SGD = {'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': 0.1}
HEAD = {**SGD, 'trainable': 'head'}
DIGITS = {
  'name': 'images', 'source': {'name': 'digits'}, 'split': {'old': 6, 'new': 4}, 'classes': 'new',
  'batch_size': 8, 'num_evaluated': 20,
}  # fmt: skip


def vit_tensors(scale=1.0):
  """A ViT of timm's for grey images; its first layer times `scale`."""
  tensors = drawn(torch.timm_vit(12, 1, 14, 4, 7), {'patch_embed': scale})
  tensors['patch_embed.proj.weight'] = tensors['patch_embed.proj.weight'][:, :1].copy()
  return tensors


def resnet_tensors():
  """ResNet-8 of CIFAR for grey images."""
  shapes = torch.conv('conv1', 16, 1, 3) | torch.batch_norm('bn1', 16)
  for stage, (into, out) in enumerate([(16, 16), (16, 32), (32, 64)], 1):
    for number, inputs in enumerate((into, out), 1):
      at = f'layer{stage}.0.'
      shapes |= torch.conv(f'{at}conv{number}', out, inputs, 3)
      shapes |= torch.batch_norm(f'{at}bn{number}', out)
  return drawn(shapes | torch.linear('linear', 10, 64))


def write_files(folder):
  """vit.safetensors and resnet.safetensors."""
  safetensors.numpy.save_file(vit_tensors(), folder / 'vit.safetensors')
  safetensors.numpy.save_file(resnet_tensors(), folder / 'resnet.safetensors')


def pipeline_config(**overrides):
  """Of three starts one has weights, one is pretrained, and one is drawn."""
  config = tiny(checkpoint_every_secs=0.0, cpu_devices=1)
  config['model'], config['rule'] = {'name': 'vit', **VIT}, SGD
  config['estimator']['population'] = 2
  config['task'] = {'name': 'classification', 'preprocessing': {'size': 28}}
  other = config['pretrain']['starts']['main']
  config['pretrain']['starts'] = {'main': {'weights': 'vit.safetensors'}, 'other': other}
  place, starts = config['meta_evaluate']['experiments']['A'], ('main', 'other', 'random')
  config['meta_evaluate']['setting_mapping'] = 'sequential'
  config['meta_evaluate']['experiments'] = {
    name: {**place, 'start': start} for name, start in zip('ACE', starts, strict=True)
  }
  return common.with_diff(config, overrides)


def job_config(**overrides):
  c = common.train_base()
  c.batch_source, c.rule = DIGITS, HEAD
  c.model = {'name': 'cifar_resnet', 'depth': 8}
  c.task = {'name': 'classification', 'preprocessing': RESNET}
  c.start = 'resnet.safetensors'
  c.train.update(num_steps=2, log_every=1, eval_every=1)
  return common.with_diff(common.freeze(c), overrides)

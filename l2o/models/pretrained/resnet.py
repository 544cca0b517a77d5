"""Residual networks: timm's and torchvision's resnet18 to resnet101, which share their names."""

from collections.abc import Sequence

from l2o.models.pretrained.spelling import Spelling
from l2o.models.resnet import ResNet
from l2o.tasks.preprocessing import IMAGENET


def spellings(model: ResNet, image_shape: Sequence[int]) -> list[Spelling]:
  """One spelling, for both publishers."""
  del image_shape
  kind, convolutions = ('Bottleneck', 3) if model.bottleneck else ('Block', 2)
  names = {'Conv_0': 'conv1.', 'BatchNorm_0': 'bn1.', 'head': 'fc.'}
  stages = len(model.features)
  blocks = model.blocks if isinstance(model.blocks, Sequence) else (model.blocks,) * stages
  theirs = [
    f'layer{stage}.{block}.' for stage, count in enumerate(blocks, 1) for block in range(count)
  ]
  for number, block in enumerate(theirs):
    ours = f'{kind}_{number}'
    for place in range(convolutions):
      names[f'{ours}/Conv_{place}'] = f'{block}conv{place + 1}.'
      names[f'{ours}/BatchNorm_{place}'] = f'{block}bn{place + 1}.'
    names[f'{ours}/Conv_{convolutions}'] = f'{block}downsample.0.'
    names[f'{ours}/BatchNorm_{convolutions}'] = f'{block}downsample.1.'
  preprocessing = IMAGENET._replace(interpolation='bilinear')
  return [Spelling('torchvision and timm', names, preprocessing, needs={'padding': 'torch'})]

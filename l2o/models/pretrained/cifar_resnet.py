"""ResNet-20, 32, 44, 56 … of CIFAR: akamaster/pytorch_resnet_cifar10."""

from collections.abc import Sequence

from l2o.models.cifar_resnet import WIDTHS, CifarResNet
from l2o.models.pretrained.spelling import Spelling
from l2o.tasks.preprocessing import IMAGENET

BLOCK = {'conv1': 'conv1.', 'norm1': 'bn1.', 'conv2': 'conv2.', 'norm2': 'bn2.'}


def spellings(model: CifarResNet, image_shape: Sequence[int]) -> list[Spelling]:
  """One spelling; these weights were trained with ImageNet's mean and standard deviation."""
  del image_shape
  names = {'stem': 'conv1.', 'stem_norm': 'bn1.', 'head': 'linear.'}
  for stage in range(1, len(WIDTHS) + 1):
    for block in range((model.depth - 2) // 6):
      for ours, theirs in BLOCK.items():
        names[f'stage{stage}_block{block}/{ours}'] = f'layer{stage}.{block}.{theirs}'
  return [Spelling('pytorch_resnet_cifar10', names, IMAGENET._replace(size=32))]

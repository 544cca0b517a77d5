"""Residual networks: CIFAR-style ones and, with a stem for larger images, ResNet-18 and 34."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2o.arguments import Count
from l2o.errors import InputError
from l2o.models.conv import Conv


class Block(nn.Module):
  """Two 3x3 convolutions around a shortcut, each followed by batch normalisation.

  Attributes:
    features: output channels.
    stride: of the first convolution and of the shortcut.
  """

  features: int
  stride: int = 1

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Feature maps [B, H, W, C] -> [B, H / stride, W / stride, features]."""
    strides = (self.stride, self.stride)
    y = Conv(self.features, (3, 3), strides, use_bias=False)(x)
    y = nn.relu(_norm(train)(y))
    y = Conv(self.features, (3, 3), use_bias=False)(y)
    y = _norm(train)(y)
    if x.shape != y.shape:
      x = _norm(train)(Conv(self.features, (1, 1), strides, use_bias=False)(x))
    return nn.relu(x + y)


class ResNet(nn.Module):
  """ResNet-(2 + 2 x blocks of all stages): He et al., arXiv 1512.03385, table 1 and sec. 4.2.

  Attributes:
    num_classes: outputs.
    features: channels of each stage; each stage but the first halves the image.
    blocks: residual blocks in each stage, one number for all or one for each.
    stem: size of the first convolution's kernel: 3, or 7 for images of about 224 pixels.
    stem_stride: of the first convolution; 2 quarters the cost of everything after it.
    stem_pool: whether 3x3 max pooling at stride 2 follows it, as in ImageNet networks.

  Raises:
    InputError: when called, no stages, or a number of `blocks` that does not match them.

  Example:
    >>> model = ResNet(num_classes=10, features=(4, 8), stem_stride=2)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False)
    >>> model.apply(variables, jnp.zeros((2, 16, 16, 3)), train=False).shape
    (2, 10)
  """

  num_classes: Count
  features: Sequence[Count] = (16, 32, 64)
  blocks: Count | Sequence[Count] = 1
  stem: Count = 3
  stem_stride: Count = 1
  stem_pool: bool = False

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Logits [B, num_classes] of images [B, H, W, C]."""
    stages = len(self.features)
    blocks = self.blocks if isinstance(self.blocks, Sequence) else (self.blocks,) * stages
    if not stages or len(blocks) != stages:
      raise InputError(
        f'resnet.blocks must have one number for each of the stages in resnet.features, at least '
        f'one: there are {len(blocks)} for {stages}'
      )
    strides = (self.stem_stride, self.stem_stride)
    x = Conv(self.features[0], (self.stem, self.stem), strides, use_bias=False)(images)
    x = nn.relu(_norm(train)(x))
    if self.stem_pool:
      x = nn.max_pool(x, (3, 3), (2, 2), padding='SAME')
    for stage, (features, count) in enumerate(zip(self.features, blocks, strict=True)):
      for block in range(count):
        x = Block(features, stride=2 if stage and not block else 1)(x, train)
    return nn.Dense(self.num_classes, name='head')(jnp.mean(x, axis=(1, 2)))


def _norm(train: bool) -> nn.BatchNorm:
  return nn.BatchNorm(use_running_average=not train, momentum=0.9)

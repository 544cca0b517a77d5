"""Residual networks: CIFAR-style ones and, with a stem for larger images, ResNet-18 to 101."""

from collections.abc import Sequence

import jax
from flax import linen as nn

from l2o.arguments import Count, Whole
from l2o.errors import InputError
from l2o.models.layers import ComputeType, Layers, PaddingKind, halving_pool, head, pooled

EXPANSION = 4  # output channels of a bottleneck for each channel inside it


class Block(nn.Module):
  """Two 3x3 convolutions, each followed by batch normalisation, and a shortcut around them.

  Attributes:
    features: output channels.
    stride: stride of the first convolution and of the shortcut.
    layers: makes the block's layers.
  """

  features: int
  stride: int
  layers: Layers

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Feature maps [B, H, W, C] -> [B, H / stride, W / stride, features]."""
    y = nn.relu(self.layers.norm()(self.layers.conv(self.features, 3, self.stride)(x)))
    y = self.layers.norm()(self.layers.conv(self.features, 3)(y))
    if x.shape != y.shape:
      x = self.layers.norm()(self.layers.conv(self.features, 1, self.stride)(x))
    return nn.relu(x + y)


class Bottleneck(nn.Module):
  """1x1, 3x3 and 1x1 convolutions and a shortcut; the stride is in the 3x3, as in torchvision.

  Attributes:
    features: channels inside; the output has four times as many.
    stride: stride of the second convolution and of the shortcut.
    layers: makes the block's layers.
  """

  features: int
  stride: int
  layers: Layers

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Feature maps [B, H, W, C] -> [B, H / stride, W / stride, 4 features]."""
    wide = EXPANSION * self.features
    y = nn.relu(self.layers.norm()(self.layers.conv(self.features, 1)(x)))
    y = nn.relu(self.layers.norm()(self.layers.conv(self.features, 3, self.stride)(y)))
    y = self.layers.norm()(self.layers.conv(wide, 1)(y))
    if self.stride > 1 or x.shape[-1] != wide:
      x = self.layers.norm()(self.layers.conv(wide, 1, self.stride)(x))
    return nn.relu(x + y)


class ResNet(nn.Module):
  """ResNet-(2 + 2 x blocks), 3 x with bottlenecks: He et al., arXiv 1512.03385, table 1, sec. 4.2.

  Attributes:
    num_classes: outputs; 0 for the features before the head, which is then left out.
    features: channels of each stage; each stage but the first halves the image.
    blocks: residual blocks in each stage, one number for all or one for each.
    stem: size of the first convolution's kernel: 3, or 7 for images of about 224 pixels.
    stem_stride: stride of the first convolution; 2 quarters the cost of everything after it.
    stem_pool: whether 3x3 max pooling at stride 2 follows it, as in ImageNet networks.
    bottleneck: whether blocks have three convolutions and put out four times `features` channels,
      as in ResNet-50 and 101.
    padding: 'same' pads strided layers as TensorFlow does, 'torch' equally on all sides; weights
      that were trained elsewhere need the padding they were trained with.
    dtype: compute dtype, None for that of the images and parameters; parameters, statistics and
      logits are always float32.

  Raises:
    InputError: when called, no stages, a number of `blocks` that does not match them, or an even
      `stem` with padding 'torch'.

  Example:
    >>> import jax.numpy as jnp
    >>> model = ResNet(num_classes=10, features=(4, 8), stem_stride=2)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False)
    >>> model.apply(variables, jnp.zeros((2, 16, 16, 3)), train=False).shape
    (2, 10)
  """

  num_classes: Whole
  features: Sequence[Count] = (16, 32, 64)
  blocks: Count | Sequence[Count] = 1
  stem: Count = 3
  stem_stride: Count = 1
  stem_pool: bool = False
  bottleneck: bool = False
  padding: PaddingKind = 'same'
  dtype: ComputeType = None

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Logits [B, num_classes], or features [B, C], for images [B, H, W, C]."""
    stages = len(self.features)
    blocks = self.blocks if isinstance(self.blocks, Sequence) else (self.blocks,) * stages
    if not stages or len(blocks) != stages:
      raise InputError(
        f'resnet.blocks must have one number for each stage in resnet.features, of which there '
        f'must be at least one: there are {len(blocks)} for {stages}'
      )
    layers = Layers.of(train, self.padding, self.dtype)
    block_type = Bottleneck if self.bottleneck else Block
    x = layers.conv(self.features[0], self.stem, self.stem_stride)(images)
    x = nn.relu(layers.norm()(x))
    if self.stem_pool:
      x = halving_pool(x, self.padding)
    for stage, (features, count) in enumerate(zip(self.features, blocks, strict=True)):
      for block in range(count):
        x = block_type(features, 2 if stage and not block else 1, layers)(x)
    return head(self.num_classes, pooled(x))

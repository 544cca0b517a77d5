"""Xception: residual blocks of depthwise separable convolutions."""

import jax
from flax import linen as nn

from l2o.arguments import Decay, NotNegative, Whole
from l2o.models.layers import ComputeType, Layers, halving_pool, head, pooled

MIDDLE = 728  # channels of the middle flow
# Channels after each separable convolution of a block, and the block's stride.
BLOCKS = (
  ((128, 128), 2),
  ((256, 256), 2),
  ((MIDDLE, MIDDLE), 2),
  *(((MIDDLE, MIDDLE, MIDDLE), 1),) * 8,
  ((MIDDLE, 1024), 2),
)


class Separable(nn.Module):
  """A 3x3 depthwise convolution, then a 1x1 convolution to `features` channels."""

  features: int
  layers: Layers

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Feature maps [B, H, W, C] -> [B, H, W, features]."""
    x = self.layers.conv(x.shape[-1], 3, groups=x.shape[-1], name='depthwise')(x)
    return self.layers.conv(self.features, 1, name='pointwise')(x)


class Block(nn.Module):
  """Separable convolutions, then max pooling at stride 2, and a shortcut around them.

  Attributes:
    features: channels after each convolution.
    stride: 2 to pool and to halve the shortcut.
    first: whether this is the first block, whose input is not rectified again.
    layers: makes the block's layers.
  """

  features: tuple[int, ...]
  stride: int
  first: bool
  layers: Layers

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Feature maps [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features[-1]]."""
    conv, norm = self.layers
    y = x
    for i, features in enumerate(self.features, 1):
      y = y if self.first and i == 1 else nn.relu(y)
      y = norm(name=f'norm{i}')(Separable(features, self.layers, name=f'separable{i}')(y))
    if self.stride == 1:
      return x + y
    shortcut = conv(self.features[-1], 1, self.stride, name='shortcut')(x)
    return norm(name='shortcut_norm')(shortcut) + halving_pool(y, 'torch')


class Xception(nn.Module):
  """Xception for images of 299 pixels; 22,855,952 parameters at 1000 classes.

  Laid out like timm's legacy_xception: no padding in the first two convolutions, one pixel on all
  sides in the others and in pooling; Keras's agrees with it at 299 pixels.

  Attributes:
    num_classes: outputs; 0 for the features before the head, which is then left out.
    epsilon: epsilon of batch normalisation: 1e-5 in timm, 1e-3 in Keras.
    momentum: momentum of the running statistics.
    dtype: compute dtype, None for that of the images and parameters; parameters, statistics and
      logits are always float32.

  Example:
    >>> import jax.numpy as jnp
    >>> model, images = Xception(num_classes=1000), jnp.zeros((1, 299, 299, 3))
    >>> shapes = jax.eval_shape(lambda k: model.init(k, images, train=False), jax.random.key(0))
    >>> sum(x.size for x in jax.tree.leaves(shapes['params']))
    22855952

  Source: Chollet, arXiv 1610.02357, figure 5.
  """

  num_classes: Whole
  epsilon: NotNegative = 1e-5
  momentum: Decay = 0.9
  dtype: ComputeType = None

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Logits [B, num_classes], or features [B, C], for images [B, H, W, C]."""
    layers = Layers.of(train, 'torch', self.dtype, self.momentum, self.epsilon)
    x = images
    for i, (features, stride) in enumerate(((32, 2), (64, 1)), 1):
      x = layers.conv(features, 3, stride, margins='VALID', name=f'conv{i}')(x)
      x = nn.relu(layers.norm(name=f'norm{i}')(x))
    for i, (channels, stride) in enumerate(BLOCKS, 1):
      x = Block(channels, stride, i == 1, layers, name=f'block{i}')(x)
    for i, features in ((3, 1536), (4, 2048)):
      x = nn.relu(layers.norm(name=f'norm{i}')(Separable(features, layers, name=f'conv{i}')(x)))
    return head(self.num_classes, pooled(x))

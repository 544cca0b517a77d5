"""The residual networks of He et al. for CIFAR, whose shortcuts have no parameters."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2o.arguments import Count, Whole
from l2o.errors import InputError
from l2o.models.layers import ComputeType, Layers, head, pooled

WIDTHS = (16, 32, 64)  # channels of the stages


class Block(nn.Module):
  """Two 3x3 convolutions and a shortcut of option A: every other pixel, zero channels added.

  Attributes:
    features: output channels; half of the shortcut's zeros go before its channels, half after.
    stride: stride of the first convolution and of the shortcut.
    layers: makes the block's layers.
  """

  features: int
  stride: int
  layers: Layers

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Feature maps [B, H, W, C] -> [B, H / stride, W / stride, features]."""
    conv, norm = self.layers
    y = nn.relu(norm(name='norm1')(conv(self.features, 3, self.stride, name='conv1')(x)))
    y = norm(name='norm2')(conv(self.features, 3, name='conv2')(y))
    added = self.features - x.shape[-1]
    channels = (added // 2, added - added // 2)
    x = jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), channels))
    return nn.relu(x + y)


class CifarResNet(nn.Module):
  """ResNet-20, 32, 44, 56 … for images of 32 pixels: He et al., arXiv 1512.03385, sec. 4.2.

  Three stages of (depth - 2) / 6 blocks with 16, 32 and 64 channels; 3x3 convolutions, padded by
  one pixel on all sides. ResNet-20 has 269,722 parameters for ten classes.

  Attributes:
    num_classes: outputs; 0 for the features before the head, which is then left out.
    depth: layers with parameters on the longest path: 8, 14, 20, …, 6 n + 2.
    dtype: compute dtype, None for that of the images and parameters; parameters, statistics and
      logits are always float32.

  Raises:
    InputError: when called, a depth that is not 6 n + 2.

  Example:
    >>> model = CifarResNet(num_classes=10, depth=8)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    >>> sorted(variables['params'])
    ['head', 'stage1_block0', 'stage2_block0', 'stage3_block0', 'stem', 'stem_norm']
  """

  num_classes: Whole
  depth: Count = 20
  dtype: ComputeType = None

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Logits [B, num_classes], or features [B, C], for images [B, H, W, C]."""
    blocks, rest = divmod(self.depth - 2, 6)
    if rest or blocks < 1:
      raise InputError(
        f'cifar_resnet.depth must be 6 n + 2 with n at least 1, such as 20, 32 or 56, '
        f'not {self.depth}'
      )
    layers = Layers.of(train, 'torch', self.dtype)
    x = nn.relu(layers.norm(name='stem_norm')(layers.conv(WIDTHS[0], 3, name='stem')(images)))
    for stage, width in enumerate(WIDTHS, 1):
      for block in range(blocks):
        stride = 2 if stage > 1 and not block else 1
        x = Block(width, stride, layers, name=f'stage{stage}_block{block}')(x)
    return head(self.num_classes, pooled(x))

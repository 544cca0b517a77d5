"""EfficientNet-Lite0: inverted bottlenecks without squeeze-and-excitation."""

from typing import NamedTuple

import jax
from flax import linen as nn

from l2o.arguments import Decay, NotNegative, Whole
from l2o.models.layers import ComputeType, Layers, PaddingKind, head, pooled

STEM, TOP = 32, 1280  # channels of the first and the last convolution


class Stage(NamedTuple):
  """Blocks of one kind; only the first of them has the stride."""

  repeats: int
  kernel: int
  stride: int
  expansion: int
  features: int


STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)


class MBConv(nn.Module):
  """1x1 expansion, depthwise convolution, linear 1x1 projection; a shortcut where shapes agree.

  Attributes:
    stage: what the block is made of.
    stride: stride of the depthwise convolution.
    layers: makes the block's layers.
  """

  stage: Stage
  stride: int
  layers: Layers

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Feature maps [B, H, W, C] -> [B, H / stride, W / stride, features]."""
    conv, norm = self.layers
    channels = x.shape[-1]
    wide, kernel = channels * self.stage.expansion, self.stage.kernel
    y = x
    if wide > channels:
      y = nn.relu6(norm(name='expand_norm')(conv(wide, 1, name='expand')(y)))
    y = conv(wide, kernel, self.stride, groups=wide, name='depthwise')(y)
    y = nn.relu6(norm(name='depthwise_norm')(y))
    y = norm(name='project_norm')(conv(self.stage.features, 1, name='project')(y))
    return x + y if self.stride == 1 and channels == self.stage.features else y


class EfficientNetLite0(nn.Module):
  """EfficientNet-Lite0 for 224-pixel images (96 and up work); 4,652,008 parameters at 1000 classes.

  Without the dropout and the stochastic depth that its authors train it with.

  Attributes:
    num_classes: outputs; 0 for the features before the head, which is then left out.
    padding: 'same' for its authors' weights and timm's tf_efficientnet_lite0; 'torch' for timm's
      efficientnet_lite0.
    epsilon: epsilon of batch normalisation: 1e-3 for the former, 1e-5 for the latter.
    momentum: momentum of the running statistics.
    dtype: compute dtype, None for that of the images and parameters; parameters, statistics and
      logits are always float32.

  Example:
    >>> import jax.numpy as jnp
    >>> model, images = EfficientNetLite0(num_classes=1000), jnp.zeros((1, 224, 224, 3))
    >>> shapes = jax.eval_shape(lambda k: model.init(k, images, train=False), jax.random.key(0))
    >>> sum(x.size for x in jax.tree.leaves(shapes['params']))
    4652008

  Source: Tan and Le, arXiv 1905.11946; tensorflow/tpu, models/official/efficientnet/lite.
  """

  num_classes: Whole
  padding: PaddingKind = 'same'
  epsilon: NotNegative = 1e-3
  momentum: Decay = 0.99
  dtype: ComputeType = None

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Logits [B, num_classes], or features [B, C], for images [B, H, W, C]."""
    layers = Layers.of(train, self.padding, self.dtype, self.momentum, self.epsilon)
    x = nn.relu6(layers.norm(name='stem_norm')(layers.conv(STEM, 3, 2, name='stem')(images)))
    for place, stage in enumerate(STAGES, 1):
      for block in range(stage.repeats):
        stride = 1 if block else stage.stride
        x = MBConv(stage, stride, layers, name=f'stage{place}_block{block}')(x)
    x = nn.relu6(layers.norm(name='top_norm')(layers.conv(TOP, 1, name='top')(x)))
    return head(self.num_classes, pooled(x))

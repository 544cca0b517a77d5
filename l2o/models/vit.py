"""Vision transformers: Dosovitskiy et al., arXiv 2010.11929."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2o.arguments import Count, Whole
from l2o.errors import InputError
from l2o.models.conv import Conv
from l2o.models.layers import ComputeType, head

EPSILON = 1e-6  # of layer normalisation, as in timm and torchvision
SIZES = {'Ti': (192, 12, 3), 'S': (384, 12, 6), 'B': (768, 12, 12), 'L': (1024, 24, 16)}


class Attention(nn.Module):
  """Self-attention with several heads; queries, keys and values come from one matrix.

  Attributes:
    heads: number of heads, each of width / heads channels.
    dtype: compute dtype.
  """

  heads: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, T, D] -> [B, T, D]."""
    batch, length, width = x.shape
    qkv = nn.Dense(3 * width, dtype=self.dtype, name='qkv')(x)
    q, k, v = jnp.unstack(qkv.reshape(batch, length, 3, self.heads, width // self.heads), axis=2)
    mixed = jax.nn.dot_product_attention(q, k, v)
    return nn.Dense(width, dtype=self.dtype, name='out')(mixed.reshape(x.shape))


class EncoderBlock(nn.Module):
  """x + attention(norm(x)), then x + MLP(norm(x)), with the exact GELU.

  Attributes:
    heads: heads of the attention.
    hidden: hidden width of the MLP.
    dtype: compute dtype.
  """

  heads: int
  hidden: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, T, D] -> [B, T, D]."""
    y = nn.LayerNorm(EPSILON, dtype=self.dtype, name='norm_1')(x)
    x = x + Attention(self.heads, self.dtype, name='attention')(y)
    y = nn.LayerNorm(EPSILON, dtype=self.dtype, name='norm_2')(x)
    y = nn.gelu(nn.Dense(self.hidden, dtype=self.dtype, name='hidden')(y), approximate=False)
    return x + nn.Dense(x.shape[-1], dtype=self.dtype, name='out')(y)


class ViT(nn.Module):
  """A vision transformer with normalisation before each part (pre-norm) and after the last.

  Attributes:
    num_classes: outputs; 0 for the features before the head, which is then left out.
    size: 'Ti', 'S', 'B' or 'L': width 192, 384, 768 or 1024, depth 12 (L: 24), and a head for each
      64 channels.
    patch: height and width of a patch; 8, 14 and 16 are usual.
    width: replaces the size's width; `depth` and `heads` likewise.
    depth: number of blocks.
    heads: heads of each attention; they divide the width.
    mlp_ratio: hidden width of a block's MLP, as a multiple of the width.
    pooling: what the head sees: a 'token' beside the patches, or the 'mean' of the patches.
    dtype: compute dtype, None for float32; parameters and logits are float32.

  Raises:
    InputError: when called, images that patches do not tile, or heads that do not divide the width.

  Example:
    >>> model = ViT(num_classes=10, patch=8, width=12, depth=1, heads=2)
    >>> images = jnp.zeros((2, 16, 24, 3))
    >>> logits, variables = jax.eval_shape(
    ...   lambda key: model.init_with_output(key, images, train=False), jax.random.key(0)
    ... )
    >>> logits.shape, variables['params']['positions'].shape
    ((2, 10), (1, 7, 12))
    >>> sorted(variables['params'])
    ['block_0', 'class_token', 'head', 'norm', 'patches', 'positions']
  """

  num_classes: Whole
  size: Literal['Ti', 'S', 'B', 'L'] = 'Ti'
  patch: Count = 16
  width: Count | None = None
  depth: Count | None = None
  heads: Count | None = None
  mlp_ratio: Count = 4
  pooling: Literal['token', 'mean'] = 'token'
  dtype: ComputeType = None

  @property
  def shape(self) -> tuple[int, int, int]:
    """(width, depth, heads)."""
    width, depth, heads = SIZES[self.size]
    return self.width or width, self.depth or depth, self.heads or heads

  def grid(self, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of patches in an image of this size."""
    if height % self.patch or width % self.patch:
      raise InputError(
        f'vit.patch must divide the height and width of the images: {self.patch} does not divide '
        f'{height} x {width}'
      )
    return height // self.patch, width // self.patch

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Logits [B, num_classes], or features [B, D], for images [B, H, W, C]; `train` is unused."""
    del train
    width, depth, heads = self.shape
    if width % heads:
      raise InputError(f'vit.heads must divide the width: {heads} does not divide {width}')
    dtype = jnp.dtype(self.dtype or 'float32')
    rows, columns = self.grid(*images.shape[1:3])
    side = (self.patch, self.patch)
    x = Conv(width, side, side, 'VALID', dtype=dtype, name='patches')(images)
    x = x.reshape(len(images), rows * columns, width)
    if self.pooling == 'token':
      token = self.param('class_token', nn.initializers.zeros, (1, 1, width))
      x = jnp.concatenate([jnp.broadcast_to(token.astype(dtype), (len(x), 1, width)), x], axis=1)
    x = x + self.param('positions', nn.initializers.normal(0.02), (1, *x.shape[1:])).astype(dtype)
    for block in range(depth):
      x = EncoderBlock(heads, self.mlp_ratio * width, dtype, name=f'block_{block}')(x)
    x = nn.LayerNorm(EPSILON, dtype=dtype, name='norm')(x).astype(jnp.float32)
    seen = x[:, 0] if self.pooling == 'token' else jnp.mean(x, axis=1)
    return head(self.num_classes, seen)

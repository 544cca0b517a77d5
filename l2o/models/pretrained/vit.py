"""Vision transformers: timm's vit_*_patch*_* and torchvision's vit_*."""

from collections.abc import Sequence

import jax
import numpy as np

from l2o.models.pretrained.spelling import Spelling
from l2o.models.vit import ViT
from l2o.tasks.preprocessing import HALVES, IMAGENET

TIMM = {
  'class_token': 'cls_token',
  'positions': 'pos_embed',
  'patches': 'patch_embed.proj.',
  'norm': 'norm.',
  'head': 'head.',
}
TIMM_BLOCK = {
  'norm_1': 'norm1.',
  'attention/qkv': 'attn.qkv.',
  'attention/out': 'attn.proj.',
  'norm_2': 'norm2.',
  'hidden': 'mlp.fc1.',
  'out': 'mlp.fc2.',
}
TORCHVISION = {
  'class_token': 'class_token',
  'positions': 'encoder.pos_embedding',
  'patches': 'conv_proj.',
  'norm': 'encoder.ln.',
  'head': 'heads.head.',
}
TORCHVISION_BLOCK = {
  'norm_1': 'ln_1.',
  'attention/qkv': 'self_attention.in_proj_',
  'attention/out': 'self_attention.out_proj.',
  'norm_2': 'ln_2.',
  'hidden': 'mlp.0.',
  'out': 'mlp.3.',
}
FIRST_TORCHVISION_BLOCK = {**TORCHVISION_BLOCK, 'hidden': 'mlp.linear_1.', 'out': 'mlp.linear_2.'}


def spellings(model: ViT, image_shape: Sequence[int]) -> list[Spelling]:
  """timm's, torchvision's, and those of the files that torchvision first released."""
  _, depth, _ = model.shape

  def positions(tensor: np.ndarray) -> np.ndarray:
    grid = model.grid(*image_shape[:2])
    return resized_positions(tensor, grid, int(model.pooling == 'token'))

  def names(whole: dict[str, str], block: dict[str, str], where: str) -> dict[str, str]:
    return whole | {
      f'block_{number}/{ours}': where.format(number) + theirs
      for number in range(depth)
      for ours, theirs in block.items()
    }

  fits = {'positions': positions}
  timm = names(TIMM, TIMM_BLOCK, 'blocks.{}.')
  layers = 'encoder.layers.encoder_layer_{}.'
  now = names(TORCHVISION, TORCHVISION_BLOCK, layers)
  first = names(TORCHVISION, FIRST_TORCHVISION_BLOCK, layers)
  return [
    Spelling('timm', timm, HALVES, resized=fits),
    Spelling('torchvision', now, IMAGENET._replace(interpolation='bilinear'), resized=fits),
    Spelling('torchvision', first, IMAGENET._replace(interpolation='bilinear'), resized=fits),
  ]


def resized_positions(tensor: np.ndarray, grid: tuple[int, int], tokens: int) -> np.ndarray:
  """Position embeddings of a square grid resized to another: bicubic with antialiasing, as in timm.

  Args:
    tensor: [1, tokens + side * side, D]; any other shape is returned unchanged.
    grid: rows and columns of the new grid.
    tokens: leading embeddings, which have no place on the grid and stay as they are.

  Returns:
    [1, tokens + rows * columns, D].

  Example:
    >>> resized_positions(np.ones((1, 1 + 4, 6), np.float32), (3, 5), tokens=1).shape
    (1, 16, 6)
  """
  side = round(max(tensor.shape[1] - tokens, 0) ** 0.5) if tensor.ndim == 3 else 0
  if not side or tensor.shape[:2] != (1, tokens + side * side) or grid == (side, side):
    return tensor
  width = tensor.shape[-1]
  places = tensor[:, tokens:].reshape(1, side, side, width)
  moved = np.asarray(jax.image.resize(places, (1, *grid, width), 'cubic'))
  return np.concatenate([tensor[:, :tokens], moved.reshape(1, -1, width)], axis=1)

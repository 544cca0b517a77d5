"""Lane keeping: an encoder for each frame, a recurrent network for the sequence."""

from collections.abc import Mapping
from typing import Annotated, Any

import jax
from flax import linen as nn

from l2o.arguments import Range
from l2o.errors import InputError
from l2o.models import MODELS
from l2o.models.conv import Conv
from l2o.models.pretrained import ARCHITECTURES
from l2o.registry import build

Share = Annotated[float, Range(at_least=0, below=1)]  # a dropout rate
CONVOLUTIONS = (
  (24, 5, 2),
  (36, 5, 2),
  (48, 5, 2),
  (64, 3, 1),
  (64, 3, 1),
)  # features, side, stride


class FrameEncoder(nn.Module):
  """Five convolutions and two dense layers: [B, 66, 200, 3] → [B, 50], 251,698 parameters.

  Valid padding; the feature maps are 31x98x24, 14x47x36, 5x22x48, 3x20x64 and 1x18x64. ELU after
  every layer and the rate of dropout, which precedes the last convolution and the first dense
  layer, are (ours).

  Attributes:
    dropout: dropout rate in training.

  Example:
    >>> import jax.numpy as jnp
    >>> model, frames = FrameEncoder(), jnp.zeros((1, 66, 200, 3))
    >>> shapes = jax.eval_shape(lambda k: model.init(k, frames, train=False), jax.random.key(0))
    >>> sum(x.size for x in jax.tree.leaves(shapes))
    251698

  Source: HUB, arXiv 2305.16823, table 6.
  """

  dropout: Share = 0.2

  @nn.compact
  def __call__(self, frames: jax.Array, train: bool) -> jax.Array:
    """Features [B, 50] for frames [B, 66, 200, 3]; `train` needs an rng named 'dropout'."""
    x = frames
    for i, (features, side, stride) in enumerate(CONVOLUTIONS):
      if i == len(CONVOLUTIONS) - 1:
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
      x = nn.elu(Conv(features, (side, side), (stride, stride), padding='VALID')(x))
    x = nn.Dropout(self.dropout, deterministic=not train)(x.reshape((x.shape[0], -1)))
    for width in (100, 50):
      x = nn.elu(nn.Dense(width)(x))
    return x


def lane_keeping(
  recurrent: Mapping[str, Any], dropout: Share = 0.2, encoder: Mapping[str, Any] | None = None
) -> 'LaneKeeping':
  """Builds `LaneKeeping` from a config.

  Args:
    recurrent: name and arguments of a sequence model, see `l2o.models.MODELS`.
    dropout: dropout rate of the paper's encoder; another one has none.
    encoder: name and arguments of a network that pretrained weights fill, without num_classes;
      None for `FrameEncoder`, the paper's.

  Raises:
    InputError: as in `l2o.registry.build`; or an encoder that does not end in features.

  Example:
    >>> lane_keeping({'name': 'lstm', 'num_outputs': 1}).recurrent.features
    64
  """
  network = build(MODELS, recurrent, 'recurrent model')
  if encoder is None:
    return LaneKeeping(network, FrameEncoder(dropout))
  found = build(MODELS, encoder, 'encoder', num_classes=0)
  if type(found).__name__ not in ARCHITECTURES or found.num_classes:
    names = sorted(name for name, at in MODELS.items() if at.partition(':')[2] in ARCHITECTURES)
    raise InputError(
      f'model.encoder must have the name {", ".join(names)} and no num_classes, so that it ends in '
      f'features, not {dict(encoder)}'
    )
  return LaneKeeping(network, found, pretrained='encoder')


class LaneKeeping(nn.Module):
  """Steering angles from video: an encoder for each frame, then a recurrent network.

  Attributes:
    recurrent: called as `recurrent(features [B, T, C], train=bool)`, for example an `LTC` of 19
      units or an `LSTM` of 64.
    encoder: called as `encoder(frames [B T, H, W, 3], train=bool)`, for example `FrameEncoder`.
    pretrained: 'encoder' if weights fill it; its batch normalisation then keeps their statistics in
      training as well, since a batch of a few sequences holds little more than two dozen copies
      of one road. '' if all is trained from scratch.

  Example:
    >>> import jax.numpy as jnp
    >>> from l2o.models.lstm import LSTM
    >>> model = LaneKeeping(LSTM(num_outputs=1), FrameEncoder())
    >>> frames = jnp.zeros((2, 3, 66, 200, 3))
    >>> jax.eval_shape(
    ...   lambda k: model.init_with_output(k, frames, train=False)[0], jax.random.key(0)
    ... ).shape
    (2, 3, 1)
  """

  recurrent: nn.Module
  encoder: nn.Module
  pretrained: str = ''

  @nn.compact
  def __call__(self, frames: jax.Array, train: bool) -> jax.Array:
    """Outputs [B, T, ...] for frames [B, T, H, W, 3]."""
    flat = frames.reshape((-1, *frames.shape[2:]))
    features = self.encoder(flat, train=train and not self.pretrained)
    return self.recurrent(features.reshape((*frames.shape[:2], -1)), train=train)

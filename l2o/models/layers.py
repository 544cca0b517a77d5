"""What the convolutional networks share: convolutions, normalisation, padding and pooling."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2o.errors import InputError
from l2o.models.conv import Conv

PaddingKind = Literal['same', 'torch']
ComputeType = Literal['float32', 'bfloat16'] | None


def padding(kind: PaddingKind, kernel: int) -> str | tuple[tuple[int, int], ...]:
  """The padding of a square kernel of odd size, as flax's layers take it.

  'same' is TensorFlow's, which at stride 2 puts the odd padding pixel after an even image;
  'torch' adds (kernel - 1) / 2 on either side. They differ where a stride does not divide
  size - 1, so weights that were trained with one are off by a pixel with the other.

  Args:
    kind: 'same' or 'torch'.
    kernel: its height and width.

  Raises:
    InputError: 'torch' with an even kernel, which has no middle.

  Example:
    >>> padding('torch', 7)
    ((3, 3), (3, 3))
  """
  if kind == 'same':
    return 'SAME'
  if kernel % 2 == 0:
    raise InputError(f"padding 'torch' needs kernels of odd size, not {kernel}: use 'same'")
  margin = (kernel // 2, kernel // 2)
  return (margin, margin)


def halving_pool(x: jax.Array, kind: PaddingKind) -> jax.Array:
  """3x3 max pooling at stride 2: [B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), C].

  Args:
    x: feature maps.
    kind: as in `padding`; the margins hold -inf.

  Example:
    >>> x = jnp.arange(16.0).reshape((1, 4, 4, 1))
    >>> halving_pool(x, 'torch')[0, :, :, 0]
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    >>> halving_pool(x, 'same')[0, :, :, 0]
    Array([[10., 11.],
           [14., 15.]], dtype=float32)
  """
  return nn.max_pool(x, (3, 3), (2, 2), padding=padding(kind, 3))


def pooled(x: jax.Array) -> jax.Array:
  """Mean over the image, in at least float32: [B, H, W, C] -> [B, C].

  Example:
    >>> pooled(jnp.ones((2, 3, 3, 4), jnp.bfloat16)).dtype
    dtype('float32')
  """
  return jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))


def head(num_classes: int, features: jax.Array) -> jax.Array:
  """A network's last layer, 'head': [B, C] -> [B, num_classes]; the features if that is 0."""
  return nn.Dense(num_classes, name='head')(features) if num_classes else features


class Layers(NamedTuple):
  """Makes the layers of one network, with the same padding, normalisation and dtype.

  Example:
    >>> layers = Layers.of(train=False, padding='torch')
    >>> layers.conv(8, 3, stride=2).padding
    ((1, 1), (1, 1))
  """

  conv: Callable[..., nn.Module]  # (features, side, stride, …), see `_conv`
  norm: Callable[..., nn.Module]  # (name=None)

  @classmethod
  def of(
    cls,
    train: bool,
    padding: PaddingKind,
    dtype: ComputeType = None,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
  ) -> 'Layers':
    """Layers without biases, and batch normalisation with the batch's or the running statistics.

    Args:
      train: whether to normalise by the batch's statistics and update the running ones.
      padding: padding of the convolutions.
      dtype: compute dtype.
      momentum: momentum of the running statistics.
      epsilon: added to the variance.
    """
    norm = partial(nn.BatchNorm, not train, momentum=momentum, epsilon=epsilon, dtype=_dtype(dtype))
    return cls(partial(_conv, padding, _dtype(dtype)), norm)


def _conv(
  kind: PaddingKind,
  dtype: Any,
  features: int,
  side: int,
  stride: int = 1,
  groups: int = 1,
  margins: str | None = None,
  name: str | None = None,
) -> Conv:
  return Conv(
    features,
    (side, side),
    (stride, stride),
    margins or padding(kind, side),
    feature_group_count=groups,
    use_bias=False,
    dtype=dtype,
    name=name,
  )


def _dtype(name: ComputeType) -> Any:
  return None if name is None else jnp.dtype(name)

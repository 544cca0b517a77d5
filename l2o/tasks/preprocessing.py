"""What a pretrained network expects of its images."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from l2o.arguments import Count, Positive
from l2o.errors import InputError
from l2o.registry import call

KERNELS = {'bilinear': 'linear', 'bicubic': 'cubic'}  # as jax.image calls them


class Preprocessing(NamedTuple):
  """(image / 255 - mean) / std, after resizing with antialiasing.

  Attributes:
    mean: mean of each channel, on a scale of 0 to 1; one number for all, or one for each.
    std: standard deviation, likewise.
    size: height and width that images are resized to, None to keep their own.
    interpolation: how images are resized.

  Example:
    >>> halves = Preprocessing(mean=(0.5,), std=(0.5,), size=2)
    >>> halves(jnp.full((1, 4, 4, 3), 255, jnp.uint8))[0, :, :, 0]
    Array([[1., 1.],
           [1., 1.]], dtype=float32)
  """

  mean: Sequence[float]
  std: Sequence[Positive]
  size: Count | None = None
  interpolation: Literal['bilinear', 'bicubic'] = 'bicubic'

  def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(H, W, C) of what the network sees, from that of the images."""
    return shape if self.size is None else (self.size, self.size, shape[2])

  def __call__(self, images: jax.Array) -> jax.Array:
    """Images [B, H, W, C] with values from 0 to 255 -> float32 [B, size, size, C]."""
    x = images.astype(jnp.float32) / 255
    seen = (len(x), *self.shape(x.shape[1:]))
    if x.shape != seen:
      x = jax.image.resize(x, seen, KERNELS[self.interpolation])
    mean, std = (jnp.asarray(v, jnp.float32).reshape(1, 1, 1, -1) for v in (self.mean, self.std))
    return (x - mean) / std


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224)
HALVES = Preprocessing((0.5,), (0.5,), 224)  # images from -1 to 1


def preprocessing(given: Preprocessing | Mapping[str, Any], channels: int) -> Preprocessing:
  """A checked Preprocessing, from another one or from a config block with its attributes.

  Args:
    given: the Preprocessing or the block.
    channels: number of channels of the images.

  Raises:
    InputError: an attribute that is missing, unknown or of the wrong type, or a mean or std for
      another number of channels.

  Example:
    >>> preprocessing({'mean': (0.5,), 'std': (0.0,)}, channels=3)
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: task.preprocessing.std[0] must be above 0, not 0.0
  """
  block = given._asdict() if isinstance(given, Preprocessing) else given
  if not isinstance(block, Mapping):
    raise InputError(f'task.preprocessing must be a block of keys, not {block!r}')
  found: Preprocessing = call(Preprocessing, block, 'task.preprocessing')
  for name in ('mean', 'std'):
    if (count := len(getattr(found, name))) not in (1, channels):
      raise InputError(
        f'task.preprocessing.{name} must have 1 number or one for each of the {channels} channels, '
        f'not {count}'
      )
  return found


def prepared(
  given: Preprocessing | Mapping[str, Any] | None, shape: tuple[int, ...]
) -> tuple[Callable[[jax.Array], jax.Array], tuple[int, ...]]:
  """What a task does to images [B, H, W, C], and their (H, W, C) afterwards.

  Args:
    given: as in `preprocessing`; None for image / 255.
    shape: (H, W, C) before.

  Raises:
    InputError: as in `preprocessing`.

  Example:
    >>> scale, shape = prepared(None, (4, 4, 3))
    >>> float(scale(jnp.full((1, 4, 4, 3), 255, jnp.uint8)).max()), shape
    (1.0, (4, 4, 3))
  """
  if given is None:
    return _scaled, shape
  found = preprocessing(given, shape[2])
  return found.__call__, found.shape(shape)


def _scaled(images: jax.Array) -> jax.Array:
  return images.astype(jnp.float32) / 255.0

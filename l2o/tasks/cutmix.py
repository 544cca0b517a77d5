"""CutMix: a box in each image, and that share of its label, come from another image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Mixed(NamedTuple):
  """A batch of images, each with a box from another one."""

  images: jax.Array  # [B, H, W, C]
  others: jax.Array  # [B] int32, the image that each box comes from; a permutation of the batch
  own: jax.Array  # [] float32, lambda: the fraction of an image that is its own


def mixed(key: jax.Array, images: jax.Array, alpha: float) -> Mixed:
  """Pastes a box from another image of the batch into each image, the same box in all.

      lambda ~ Beta(alpha, alpha),    box: sqrt(1 - lambda) (H, W), its centre uniform in the image

  The box is clipped at the borders and its corners rounded to pixels; the lambda returned is the
  fraction it leaves. The loss is then lambda CE(label) + (1 - lambda) CE(the other's label).

  Args:
    key: [] randomness.
    images: [B, H, W, C].
    alpha: above 0; with 1, lambda is uniform.

  Example:
    >>> images = jnp.arange(3, dtype=jnp.uint8)[:, None, None, None] * jnp.ones((1, 8, 8, 1))
    >>> cut, others, own = mixed(jax.random.key(1), images, alpha=1.0)
    >>> wanted = own * jnp.arange(3) + (1 - own) * others
    >>> bool(jnp.allclose(jnp.mean(cut, axis=(1, 2, 3)), wanted))
    True

  Reference: Yun et al., arXiv 1905.04899, eqs. (1) and (2) and algorithm A1.
  """
  fraction_key, centre_key, other_key = jax.random.split(key, 3)
  sides = jnp.array(images.shape[1:3], jnp.float32)
  half = sides * jnp.sqrt(1 - jax.random.beta(fraction_key, alpha, alpha)) / 2
  centre = sides * jax.random.uniform(centre_key, (2,))
  low, high = (jnp.round(jnp.clip(x, 0, sides)) for x in (centre - half, centre + half))
  rows, columns = (
    (low[axis] <= jnp.arange(side)) & (jnp.arange(side) < high[axis])
    for axis, side in enumerate(images.shape[1:3])
  )
  others = jax.random.permutation(other_key, len(images))
  inside = (rows[:, None] & columns[None])[None, :, :, None]
  own = 1 - jnp.prod(high - low) / jnp.prod(sides)
  return Mixed(jnp.where(inside, images[others], images), others, own)

"""A multi-layer perceptron on flattened images."""

from collections.abc import Sequence

import jax
from flax import linen as nn

from l2o.arguments import Count


class MLP(nn.Module):
  """Dense layers with ReLU between them, the last named 'head'.

  Attributes:
    num_classes: outputs.
    features: widths of the hidden layers.

  Example:
    >>> import jax.numpy as jnp
    >>> model = MLP(num_classes=5, features=(8,))
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)), train=False)
    >>> model.apply(variables, jnp.zeros((3, 4, 4, 1)), train=False).shape
    (3, 5)
  """

  num_classes: Count
  features: Sequence[Count] = (64, 64)

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Logits [B, num_classes] for images [B, H, W, C]; `train` has no effect."""
    del train
    x = images.reshape((images.shape[0], -1))
    for width in self.features:
      x = nn.relu(nn.Dense(width)(x))
    return nn.Dense(self.num_classes, name='head')(x)

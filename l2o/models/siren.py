"""Siren: a perceptron with sine activations, whose parameters represent an image or a volume."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2o.arguments import Count, Positive


def _uniform(bound: float) -> nn.initializers.Initializer:
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class Siren(nn.Module):
  """x ← sin(w0 (W x + b)) in every layer but the last, which is linear and named 'head'.

  W is uniform in ±1 / n in the first layer and in ±sqrt(6 / n) / w0 in the others, n the layer's
  inputs, so that w0 W x has unit variance at every depth. b is uniform in ±1 / sqrt(n), as in the
  authors' code.

  Attributes:
    features: width of the hidden layers; `siren_size.siren_width` finds it for a size in bytes.
    num_outputs: channels.
    num_layers: dense layers, the last included.
    w0: frequency.

  Example:
    >>> model = Siren(features=16)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 3)), train=False)
    >>> model.apply(variables, jnp.zeros((5, 3)), train=False).shape
    (5, 1)

  Source: Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
  arXiv 2006.09661, sec. 3.2; seven layers and w0 = 20 are from HUB, arXiv 2305.16823.
  """

  features: Count
  num_outputs: Count = 1
  num_layers: Count = 7
  w0: Positive = 20.0

  @nn.compact
  def __call__(self, coordinates: jax.Array, train: bool) -> jax.Array:
    """Channels [B, num_outputs] at coordinates [B, D] in [-1, 1]; `train` has no effect."""
    del train
    x = coordinates
    for layer in range(self.num_layers):
      last, inputs = layer == self.num_layers - 1, x.shape[-1]
      x = nn.Dense(
        self.num_outputs if last else self.features,
        kernel_init=_uniform(math.sqrt(6 / inputs) / self.w0 if layer else 1 / inputs),
        bias_init=_uniform(1 / math.sqrt(inputs)),
        name='head' if last else f'dense_{layer}',
      )(x)
      x = x if last else jnp.sin(self.w0 * x)
    return x

"""A long short-term memory network for sequences."""

import jax
from flax import linen as nn

from l2o.arguments import Count


class LSTM(nn.Module):
  """One LSTM layer and a dense 'head' at each step.

  Attributes:
    num_outputs: numbers predicted at each step.
    features: units of the LSTM.

  Example:
    >>> import jax.numpy as jnp
    >>> model = LSTM(num_outputs=1, features=8)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 5, 3)), train=False)
    >>> model.apply(variables, jnp.zeros((2, 5, 3)), train=False).shape
    (2, 5, 1)

  Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997. HUB (arXiv 2305.16823) uses 64
  units for lane keeping.
  """

  num_outputs: Count
  features: Count = 64

  @nn.compact
  def __call__(self, inputs: jax.Array, train: bool) -> jax.Array:
    """Outputs [B, T, num_outputs] for sequences [B, T, C]; `train` has no effect."""
    del train
    hidden = nn.RNN(nn.OptimizedLSTMCell(self.features), name='lstm')(inputs)
    return nn.Dense(self.num_outputs, name='head')(hidden)

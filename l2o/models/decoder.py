"""Decoder-only transformers for language, in LLaMA's form: Touvron et al., arXiv 2302.13971."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2o.arguments import Count
from l2o.errors import InputError
from l2o.models.layers import ComputeType

EPSILON = 1e-5  # of RMS normalisation
BASE = 10_000.0  # the longest wavelength of rotary positions is 2 pi times this
INIT = nn.initializers.normal(0.02)


def rotated(x: jax.Array) -> jax.Array:
  """Rotary positions: turns channels (i, i + C/2) at position t by t * BASE^(-2 i / C).

  The product of two such vectors depends only on their positions' distance. Source: Su et al.,
  arXiv 2104.09864.

  Args:
    x: queries or keys [B, T, heads, C], C even.

  Example:
    >>> x = rotated(jnp.ones((1, 2, 1, 2)))
    >>> [[round(float(c), 3) for c in row] for row in x[0, :, 0]]  # by 0 and by 1 radian
    [[1.0, 1.0], [-0.301, 1.382]]
  """
  half = x.shape[-1] // 2
  speeds = BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angles = jnp.outer(jnp.arange(x.shape[1], dtype=jnp.float32), speeds)[None, :, None]
  cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
  low, high = x[..., :half], x[..., half:]
  return jnp.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


class CausalAttention(nn.Module):
  """Self-attention in which a position sees itself and the positions before it.

  Attributes:
    heads: heads of the queries.
    kv_heads: heads of keys and values; each serves heads / kv_heads query heads.
    dtype: compute dtype.
  """

  heads: int
  kv_heads: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, T, D] -> [B, T, D]."""
    width = x.shape[-1]
    size = width // self.heads

    def projected(name: str, heads: int) -> jax.Array:
      y = nn.Dense(heads * size, False, self.dtype, kernel_init=INIT, name=name)(x)
      return y.reshape(*x.shape[:2], heads, size)

    q, k = rotated(projected('query', self.heads)), rotated(projected('key', self.kv_heads))
    v = projected('value', self.kv_heads)
    mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    out = nn.Dense(width, False, self.dtype, kernel_init=INIT, name='out')
    return out(mixed.reshape(*x.shape[:2], self.heads * size))


class DecoderBlock(nn.Module):
  """x + attention(norm(x)), then x + out(silu(gate(y)) * up(y)) with y = norm(x).

  Attributes:
    heads: heads of the attention's queries.
    kv_heads: heads of its keys and values.
    hidden: width of gate and up.
    dtype: compute dtype.
  """

  heads: int
  kv_heads: int
  hidden: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, T, D] -> [B, T, D]."""
    y = nn.RMSNorm(EPSILON, dtype=self.dtype, name='norm_1')(x)
    x = x + CausalAttention(self.heads, self.kv_heads, self.dtype, name='attention')(y)
    y = nn.RMSNorm(EPSILON, dtype=self.dtype, name='norm_2')(x)
    gate, up = (
      nn.Dense(self.hidden, False, self.dtype, kernel_init=INIT, name=name)(y)
      for name in ('gate', 'up')
    )
    out = nn.Dense(x.shape[-1], False, self.dtype, kernel_init=INIT, name='out')
    return x + out(nn.silu(gate) * up)


class Decoder(nn.Module):
  """A decoder-only transformer with tied embeddings: the logits are products with them.

  Attributes:
    vocab_size: V; 256 for bytes.
    width: D.
    depth: number of blocks.
    heads: heads of each attention's queries; they divide the width into heads of even size.
    kv_heads: heads of its keys and values, None for as many; their number divides `heads`.
    hidden: hidden width of a block's MLP, None for 8/3 of D, rounded up to a multiple of 8.
    dtype: compute dtype, None for float32; parameters and logits are float32.

  Raises:
    InputError: when called, heads that do not divide what they should.

  Example:
    >>> model = Decoder(width=16, depth=1, heads=2)
    >>> tokens = jnp.zeros((3, 7), jnp.int32)
    >>> logits, variables = jax.eval_shape(
    ...   lambda key: model.init_with_output(key, tokens, train=False), jax.random.key(0)
    ... )
    >>> logits.shape, sorted(variables['params'])
    ((3, 7, 256), ['block_0', 'embedding', 'norm'])
  """

  vocab_size: Count = 256
  width: Count = 128
  depth: Count = 4
  heads: Count = 4
  kv_heads: Count | None = None
  hidden: Count | None = None
  dtype: ComputeType = None

  @nn.compact
  def __call__(self, tokens: jax.Array, train: bool) -> jax.Array:
    """Logits [B, T, V] for the token after each of the tokens [B, T] int32; `train` is unused."""
    del train
    kv_heads, hidden = self.kv_heads or self.heads, self.hidden or -(-self.width // 3) * 8
    if self.width % (2 * self.heads):
      raise InputError(
        f'decoder.heads must divide decoder.width into heads of even size: {self.heads} heads do '
        f'not divide {self.width} so'
      )
    if self.heads % kv_heads:
      raise InputError(
        f'decoder.kv_heads must divide the heads: {kv_heads} does not divide {self.heads}'
      )
    dtype = jnp.dtype(self.dtype or 'float32')
    embedding = self.param('embedding', INIT, (self.vocab_size, self.width))
    x = jnp.take(embedding, tokens, axis=0).astype(dtype)
    for block in range(self.depth):
      x = DecoderBlock(self.heads, kv_heads, hidden, dtype, name=f'block_{block}')(x)
    x = nn.RMSNorm(EPSILON, dtype=dtype, name='norm')(x)
    return jnp.einsum('btd,vd->btv', x, embedding.astype(dtype)).astype(jnp.float32)

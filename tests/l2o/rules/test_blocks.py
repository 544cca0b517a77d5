"""The loop over parts of large arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.rules.per_parameter.blocks import in_blocks

WEIGHTS = np.linspace(-1.0, 2.0, 64)


def hidden_units(start, x):
  """64 intermediates for each entry."""
  return jnp.sum(jnp.tanh(jnp.outer(WEIGHTS, x + start)), axis=0)


@pytest.mark.parametrize('size', [1, 4, 5, 11])
def test_blocks_are_parts_of_the_whole(size):
  x = jnp.linspace(-1.0, 3.0, 11)
  (same,), found = in_blocks(lambda start, x: jnp.sin(x) * x, (x,), size)
  np.testing.assert_array_equal(same, x)
  np.testing.assert_allclose(found, np.sin(x) * x, rtol=1e-6)


@pytest.mark.parametrize('size', [4, 11])
def test_the_gradient_counts_each_entry_once(size):
  """The last block of 4 begins early, so that entries are computed twice."""
  x = jnp.linspace(-1.0, 3.0, 11)
  slope = jax.grad(lambda x: jnp.sum(in_blocks(lambda start, x: x**3, (x,), size)[1]))(x)
  np.testing.assert_allclose(slope, 3 * x**2, rtol=1e-6)


def test_reverse_mode_keeps_no_intermediates_of_a_block():
  """Of 8 blocks, whose hidden units together are 64 times as large as the array."""
  x = jnp.linspace(-1.0, 3.0, 8 * 4096)
  loss = lambda x: jnp.sum(in_blocks(hidden_units, (x,), 4096)[1])  # noqa: E731
  used = jax.jit(jax.grad(loss)).lower(x).compile().memory_analysis().temp_size_in_bytes
  assert used < 64 * x.nbytes / 4

"""What Celo2 does to the step of a whole matrix: orthogonalise and normalise it."""

import jax
import jax.numpy as jnp

from l2o.rules.per_parameter.inputs import matrix_means
from l2o.rules.per_parameter.tensor_groups import Group, spread, tensor_means

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al., "Muon", 2024
ITERATIONS = 5


def orthogonalise(x: jax.Array) -> jax.Array:
  """Brings the singular values of matrices [..., rows, columns] near 1, by Newton-Schulz.

  x ← x / ‖x‖, then five times x ← a x + (b A + c A²) x with A = x xᵀ. Exact products matter: small
  singular values grow by up to 480 times, and their rounding errors with them.

  Example:
    >>> x = orthogonalise(jnp.array([[3.0, 0.0, 0.0], [0.0, 0.0, -2.0]]))
    >>> bool(jnp.all(jnp.abs(jnp.linalg.svd(x)[1] - 1.0) < 0.35))
    True
  """
  if x.shape[-2] > x.shape[-1]:
    return jnp.matrix_transpose(orthogonalise(jnp.matrix_transpose(x)))
  x = x / (jnp.sqrt(jnp.sum(jnp.square(x), axis=(-2, -1), keepdims=True)) + 1e-8)
  a, b, c = COEFFICIENTS
  with jax.default_matmul_precision('highest'):
    for _ in range(ITERATIONS):
      gram = x @ jnp.matrix_transpose(x)
      x = a * x + (b * gram + c * (gram @ gram)) @ x
  return x


def orthogonalise_slabs(group: Group, steps: jax.Array) -> jax.Array:
  """`orthogonalise` for each matrix over a tensor's last two axes, in [S, *slab]."""
  if group.matrix == (-2, -1):
    return orthogonalise(steps)
  last = jnp.moveaxis(steps, group.matrix, (-2, -1))
  return jnp.moveaxis(orthogonalise(last), (-2, -1), group.matrix)


def normalise(group: Group, steps: jax.Array) -> jax.Array:
  """Scales each matrix, or vector, in [S, *slab] to a root mean square of 1."""
  squares = jnp.square(steps)
  means = (
    matrix_means(group, squares) if group.slab else spread(group, tensor_means(group, squares))
  )
  return steps * jax.lax.rsqrt(1e-9 + means)

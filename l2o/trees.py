"""The layers of a parameter tree: each leaf is one, and has a path and a norm."""

import jax
import jax.numpy as jnp

from l2o.types import PyTree


def layer_paths(tree: PyTree) -> tuple[str, ...]:
  """Names the leaves of `tree` by their path, in the order of `jax.tree.leaves`.

  Example:
    >>> layer_paths({'head': {'kernel': 1.0, 'bias': 2.0}})
    ('head/bias', 'head/kernel')
  """
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return tuple(jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in leaves)


def layer_norms(tree: PyTree) -> jax.Array:
  """L2 norm of each leaf, accumulated in float32: [layers].

  Example:
    >>> layer_norms({'a': jnp.array([3.0, 4.0]), 'b': jnp.array(-2.0)})
    Array([5., 2.], dtype=float32)
  """
  leaves = jax.tree.leaves(tree)
  if not leaves:
    return jnp.zeros((0,), jnp.float32)
  squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in leaves]
  return jnp.sqrt(jnp.stack(squares))

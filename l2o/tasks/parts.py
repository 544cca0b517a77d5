"""An evaluation in parts, for more examples than a network can take at once."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from l2o.errors import InputError
from l2o.types import Batch


def in_parts(
  function: Callable[[Batch], jax.Array], batch: Mapping[str, jax.Array], size: int
) -> jax.Array:
  """Applies a per-example function to `size` examples at a time; the last part may be smaller.

  Args:
    function: {name: [b, ...]} -> [b, ...].
    batch: {name: [B, ...]}.
    size: examples per part; 0 for all at once.

  Raises:
    InputError: a size that splits arrays which do not all have an entry for each example.

  Example:
    >>> in_parts(lambda part: part['x'] + len(part['x']), {'x': jnp.zeros(5)}, size=2).tolist()
    [2.0, 2.0, 2.0, 2.0, 1.0]
  """
  counts = {name: len(x) for name, x in batch.items()}
  count = max(counts.values())
  if not 0 < size < count:
    return function(dict(batch))
  if min(counts.values()) < count:
    listed = ', '.join(f'{name} {number}' for name, number in counts.items())
    raise InputError(
      f'task.evaluated_at_once must be 0 for inputs without an entry for each example: {listed}'
    )
  whole = count - count % size
  parts = {name: x[:whole].reshape(-1, size, *x.shape[1:]) for name, x in batch.items()}
  found = jax.lax.map(function, parts)
  found = found.reshape(whole, *found.shape[2:])
  if whole == count:
    return found
  return jnp.concatenate([found, function({name: x[whole:] for name, x in batch.items()})])

"""A saved optimizer as a rule."""

import jax

from l2o.artifacts.artifact import read
from l2o.types import LearnedRule, Params, Theta


def artifact(path: str, on_mismatch: str = 'error') -> LearnedRule:
  """A learned optimizer as a rule whose initial theta is the learned one.

  Args:
    path: a file that `l2o.save` wrote, or the name of one in the zoo.
    on_mismatch: see `l2o.load`.

  Raises:
    InputError: as in `l2o.load`.

  Example:
    >>> import jax.numpy as jnp
    >>> learned = artifact('l3rs-quickstart', on_mismatch='mean_embedding')
    >>> theta = learned.init(jax.random.key(0), {'w': jnp.ones(3)})
    >>> tx = learned.bind(theta, num_steps=100)
  """
  held = read(path)

  def init(key: jax.Array, params: Params) -> Theta:
    del key
    theta = held.rule.retarget(held.theta, params, on_mismatch=on_mismatch)
    return jax.tree.map(jax.numpy.asarray, theta)

  return held.rule._replace(init=init)

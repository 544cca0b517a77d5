"""Turns an evolution strategy, which asks and tells, into an estimator of the meta-gradient."""

import jax
import jax.numpy as jnp

from l2o.inner.mapping import vectorized
from l2o.types import (
  Estimator,
  EvolutionStrategy,
  MapFn,
  MetaGradient,
  MetaLoss,
  Metrics,
  PyTree,
  Tasks,
  Theta,
)


def estimator(
  strategy: EvolutionStrategy, meta_loss: MetaLoss, map_fn: MapFn = vectorized
) -> Estimator:
  """The estimator that asks for every candidate, computes its meta-loss and tells the strategy.

  Args:
    strategy: for example `nes()`.
    meta_loss: (theta, tasks) -> metrics [], 'loss' among them.
    map_fn: strategy for mapping over candidates; each makes its own theta from its number, so
      that a device makes only its share of them.

  Example:
    >>> from l2o.estimators.nes import nes
    >>> def squared(theta, tasks):
    ...   return {'loss': (theta - tasks) ** 2}
    >>> es, theta = estimator(nes(population=2000), squared), jnp.array(3.0)
    >>> state = es.init(theta, jax.random.key(0))
    >>> grad, state, metrics = es.estimate(theta, state, jax.random.key(1), 1.0)
    >>> bool(grad > 0)
    True
  """

  def estimate(theta: Theta, state: PyTree, key: jax.Array, tasks: Tasks) -> MetaGradient:
    def candidate(number: jax.Array, shared: tuple[PyTree, ...]) -> Metrics:
      theta, state, key, tasks = shared
      return meta_loss(strategy.ask(theta, state, key, number), tasks)

    metrics = map_fn(candidate, jnp.arange(strategy.population), (theta, state, key, tasks))
    return strategy.tell(theta, state, key, metrics)

  return Estimator(strategy.init, estimate)


def candidates(strategy: EvolutionStrategy, theta: Theta, state: PyTree, key: jax.Array) -> Theta:
  """All candidates of a generation at once, for callers that run them themselves: leaves [n, ...].

  Example:
    >>> from l2o.estimators.nes import nes
    >>> strategy, theta = nes(population=4), jnp.zeros(3)
    >>> state = strategy.init(theta, jax.random.key(0))
    >>> candidates(strategy, theta, state, jax.random.key(1)).shape
    (4, 3)
  """
  numbers = jnp.arange(strategy.population)
  return jax.vmap(lambda number: strategy.ask(theta, state, key, number))(numbers)

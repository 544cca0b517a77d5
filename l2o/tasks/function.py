"""Functions of a vector to minimize, without data."""

from typing import Annotated

import jax
import jax.numpy as jnp

from l2o.arguments import Positive, Range, checked
from l2o.types import Batch, LossAndAux, Metrics, Params, PyTree, Start, Task


def waves(x: jax.Array, slope: float = 0.01) -> jax.Array:
  """f(x) = s (1 + slope s + cos(1 / s)) with s = ‖x‖₁, and f(0) = 0: [d] -> [].

  It oscillates ever faster towards its minimum at 0. Source: HUB, arXiv 2305.16823.

  Example:
    >>> float(waves(jnp.zeros(3)))
    0.0
    >>> round(float(waves(jnp.array([1.0, -1.0]))), 4)
    3.7952
  """
  s = jnp.sum(jnp.abs(x))
  inverse = 1.0 / jnp.where(s == 0, 1.0, s)
  return jnp.where(s == 0, 0.0, s * (1.0 + slope * s + jnp.cos(inverse)))  # NaN stays NaN


@checked
def function(
  dimension: Annotated[int, Range(at_least=2)] = 1000, slope: float = 0.01, spread: Positive = 1.0
) -> Task:
  """Minimizes `waves` from a random start; batches are empty.

  Args:
    dimension: d.
    slope: as in `waves`.
    spread: standard deviation of the normal start (ours; the paper does not give it).

  Raises:
    InputError: a dimension below 2, since the path of two coordinates is recorded.

  Example:
    >>> task = function(dimension=3)
    >>> x, state = task.init(jax.random.key(0))
    >>> task.loss(x, state, jax.random.key(1), {})[0] == task.evaluate(x, state, {})['loss']
    Array(True, dtype=bool)
  """

  def init(key: jax.Array, pretrained: Start | None = None) -> Start:
    if pretrained is not None:
      return pretrained
    return {'x': spread * jax.random.normal(key, (dimension,))}, {}

  def loss(params: Params, model_state: PyTree, key: jax.Array, batch: Batch) -> LossAndAux:
    del key, batch
    x = params['x']
    return waves(x, slope), (model_state, {'x_1': x[0], 'x_2': x[1]})

  def evaluate(params: Params, model_state: PyTree, batch: Batch) -> Metrics:
    del model_state, batch
    return {'loss': waves(params['x'], slope)}

  return Task(init, loss, evaluate)

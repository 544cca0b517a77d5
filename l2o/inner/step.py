"""One inner step: loss, gradient, update. Training jobs and rollouts share it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import optax

from l2o.types import Batch, LossAndAux, Metrics, Params, PyTree, Task


class InnerState(NamedTuple):
  """What one inner step changes."""

  params: Params
  model_state: PyTree
  opt_state: PyTree


def fetch(store: PyTree, batch: Batch) -> Batch:
  """Looks up the examples that a batch gives by position.

  Args:
    store: arrays [N, ...] by name, for example `{'image': [N, H, W, C]}`.
    batch: leaves [B, ...]; an 'index' [B] int32 is replaced by the rows of `store`, and a batch
      without one passes unchanged.

  Example:
    >>> import jax.numpy as jnp
    >>> fetch({'image': jnp.array([10, 20, 30])}, {'index': jnp.array([2, 0]), 'label': 1})
    {'image': Array([30, 10], dtype=int32), 'label': 1}
  """
  if 'index' not in batch:
    return batch
  rows = jax.tree.map(lambda array: array[batch['index']], store)
  return rows | {name: leaf for name, leaf in batch.items() if name != 'index'}


def inner_step(
  task: Task,
  tx: optax.GradientTransformationExtraArgs,
  state: InnerState,
  key: jax.Array,
  batch: Batch,
  fresh: Callable[[], Batch] | None = None,
) -> tuple[InnerState, Metrics]:
  """One step: loss and gradient, the optimizer's update, the new parameters.

  Args:
    task: the inner problem.
    tx: the optimizer.
    state: the state before the step.
    key: [], the randomness of the step.
    batch: the batch the gradient is computed on.
    fresh: returns other data, for the `value_fn` of an optimizer that compares proposals
      (LGL2O); others ignore it.

  Returns:
    The state after the step, and the metrics before it, with the training loss as 'loss'.

  Example:
    >>> import jax.numpy as jnp
    >>> task = Task(
    ...   init=lambda key, pretrained=None: (jnp.array(3.0), {}),
    ...   loss=lambda w, state, key, batch: ((w - batch['x']) ** 2, (state, {})),
    ...   evaluate=lambda w, state, batch: {'loss': (w - batch['x']) ** 2},
    ... )
    >>> tx = optax.with_extra_args_support(optax.sgd(0.25))
    >>> state = InnerState(jnp.array(3.0), {}, tx.init(jnp.array(3.0)))
    >>> state, metrics = inner_step(task, tx, state, jax.random.key(0), {'x': 1.0})
    >>> float(state.params), float(metrics['loss'])
    (2.0, 4.0)
  """

  def loss_on(batch: Batch, params: Params) -> LossAndAux:
    return task.loss(params, state.model_state, key, batch)

  on_batch = jax.value_and_grad(partial(loss_on, batch), has_aux=True)
  (loss, (model_state, metrics)), grads = on_batch(state.params)
  functions: dict[str, Any] = {}
  if fresh is not None:
    functions['value_fn'] = lambda params: loss_on(fresh(), params)[0]
    functions['value_and_grad_fn'] = lambda params: _without_aux(on_batch(params))
  updates, opt_state = tx.update(grads, state.opt_state, state.params, value=loss, **functions)
  params = optax.apply_updates(state.params, updates)
  return InnerState(params, model_state, opt_state), metrics | {'loss': loss}


def _without_aux(result: tuple[LossAndAux, PyTree]) -> tuple[jax.Array, PyTree]:
  (value, _), grads = result
  return value, grads

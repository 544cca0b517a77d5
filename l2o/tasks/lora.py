"""LoRA: a network's matrices stay as they are, and a product of two thin ones is added to each.

    W' = W + alpha / rank * A B,   A [in, rank] ~ N(0, 1 / in),   B [rank, out] = 0 at the start

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685.
"""

from typing import Any

import jax
import jax.numpy as jnp

from l2o.types import Batch, LossAndAux, Metrics, Params, PyTree, Start, Task

BASE = 'base'  # the frozen network in the model's state
KERNEL = 'kernel'  # only the matrices of dense layers get adapters


def lora(task: Task, rank: int, alpha: float) -> Task:
  """A task whose parameters are the adapters alone; the network is in its model state.

  Args:
    task: the task of the whole network, which stays available as `whole`.
    rank: rank of the adapters.
    alpha: their scale, which is divided by the rank.

  Returns:
    A Task whose `init` takes `pretrained=(params, model_state)` of the whole network; without it,
    the frozen network is freshly drawn.

  Example:
    >>> from l2o.models.decoder import Decoder
    >>> from l2o.tasks.language_model import language_model
    >>> task = lora(language_model(Decoder(width=16, depth=1, heads=2), (9, 1, 1)), 2, 4.0)
    >>> adapters, frozen = task.init(jax.random.key(0))
    >>> {name: x.shape for name, x in adapters['block_0']['gate']['kernel'].items()}
    {'a': (16, 2), 'b': (2, 48)}
  """
  scale = alpha / rank

  def init(key: jax.Array, pretrained: Start | None = None) -> Start:
    start_key, adapter_key = jax.random.split(key)
    params, model_state = task.init(start_key, pretrained)
    return _adapters(params, rank, adapter_key), {BASE: params, 'state': model_state}

  def loss(params: Params, model_state: PyTree, key: jax.Array, batch: Batch) -> LossAndAux:
    whole = merged(model_state[BASE], params, scale)
    value, (state, metrics) = task.loss(whole, model_state['state'], key, batch)
    return value, ({**model_state, 'state': state}, metrics)

  def evaluate(params: Params, model_state: PyTree, batch: Batch) -> Metrics:
    whole = merged(model_state[BASE], params, scale)
    return task.evaluate(whole, model_state['state'], batch)

  return Task(init, loss, evaluate, whole=task)


def merged(params: Params, adapters: Params, scale: float) -> Params:
  """The network with its adapters added to its matrices.

  Args:
    params: the network's parameters.
    adapters: nested like them, without the leaves that have no adapter.
    scale: alpha / rank.

  Example:
    >>> network = {'dense': {'kernel': jnp.ones((2, 2)), 'bias': jnp.ones(2)}}
    >>> adapters = {'dense': {'kernel': {'a': jnp.array([[1.0], [0.0]]), 'b': jnp.ones((1, 2))}}}
    >>> merged(network, adapters, 0.5)['dense']['kernel'].tolist()
    [[1.5, 1.5], [1.0, 1.0]]
  """
  found = {}
  for name, part in params.items():
    own = adapters.get(name)
    if own is None:
      found[name] = part
    elif isinstance(part, dict):
      found[name] = merged(part, own, scale)
    else:
      found[name] = part + scale * (own['a'] @ own['b'])
  return found


def _adapters(params: Params, rank: int, key: jax.Array) -> dict[str, Any]:
  """Adapters for every matrix called 'kernel', nested like the network."""
  found: dict[str, Any] = {}
  for number, (name, part) in enumerate(sorted(params.items())):
    part_key = jax.random.fold_in(key, number)
    if isinstance(part, dict):
      if inner := _adapters(part, rank, part_key):
        found[name] = inner
    elif name == KERNEL and part.ndim == 2:
      rows, columns = part.shape
      a = jax.random.normal(part_key, (rows, rank), part.dtype) / jnp.sqrt(rows).astype(part.dtype)
      found[name] = {'a': a, 'b': jnp.zeros((rank, columns), part.dtype)}
  return found

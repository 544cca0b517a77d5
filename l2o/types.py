"""The core types: a rule, a task, an estimator, and what passes between them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

PyTree = Any
Params = PyTree
Theta = PyTree  # meta-parameters: what meta-training learns
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


def keep_theta(theta: Theta, params: Params, on_mismatch: str = 'error') -> Theta:
  """`LearnedRule.retarget` of a rule whose theta fits any parameters."""
  del params, on_mismatch
  return theta


def keep_params(state: PyTree, params: Params) -> Params:
  """`LearnedRule.eval_params` of a rule that is evaluated at the parameters it trains."""
  del state
  return params


class LearnedRule(NamedTuple):
  """An optimizer with meta-parameters theta, learned or set by hand.

  `bind` is pure, cheap and vmappable over theta. The transformation it returns takes the loss as
  `update(grads, state, params, value=loss)`, ignores keywords it does not know, returns additive
  updates in the parameters' dtype and keeps only arrays in its state, none of which shares memory
  with another, the parameters or theta; `l2o.rules.contract.strict` ensures that.
  """

  init: Callable[[jax.Array, Params], Theta]  # (key, params or their shapes) -> theta
  bind: Callable[..., Any]  # (theta, num_steps [] int) -> optax.GradientTransformationExtraArgs
  diagnostics: Callable[[Any], Metrics] = (
    lambda state: {}
  )  # (state) -> what the last step did, to plot
  # (theta, params or their shapes, on_mismatch='error') -> theta fitted to other parameters
  retarget: Callable[..., Theta] = keep_theta
  # (state, params) -> the parameters to evaluate, if they are not the trained ones
  eval_params: Callable[[Any, Params], Params] = keep_params


class Task(NamedTuple):
  """An inner problem: a starting point, a loss to minimize, and the metrics to report."""

  init: Callable[..., Any]  # (key, pretrained=None) -> (params, model_state)
  loss: Callable[..., Any]  # (params, model_state, key, batch) -> (loss [], (model_state, metrics))
  evaluate: Callable[..., Metrics]  # (params, model_state, batch) -> metrics, 'loss' among them


class Episode(NamedTuple):
  """One draw of a task: where inner training starts and all the data it will see."""

  params: Params
  model_state: PyTree
  key: jax.Array  # [] randomness of the inner training, the same for all candidates
  train: Batch  # leaves [K, B, ...]: the K training batches, K >= num_steps
  evaluation: Batch  # leaves [E, ...]: the batch the meta-loss is computed on


class TaskBatch(NamedTuple):
  """b episodes with a common horizon."""

  episodes: Episode  # leaves [b, ...]
  data: dict[str, PyTree]  # 'train', 'evaluation': arrays that a batch's 'index' looks up
  num_steps: jax.Array  # [] int32, K: traced, so a new horizon is not a new program


class Estimator(NamedTuple):
  """An estimate of the meta-gradient d(meta-loss) / d(theta)."""

  init: Callable[..., PyTree]  # (theta, key) -> state
  # (theta, state, key, tasks) -> (grad_theta, state, metrics []); among the metrics 'loss',
  # 'candidates' (how many thetas were tried) and 'nonfinite' (how many of them had no finite loss).
  estimate: Callable[..., Any]
  # `estimate` in two halves, for callers that run the candidates themselves; None if
  # the estimator cannot be split so.
  ask: Callable[..., Theta] | None = None  # (theta, state, key) -> thetas [n, ...]
  tell: Callable[..., Any] | None = None  # (theta, state, key, metrics [n]) -> as `estimate`


class MapFn(Protocol):
  """Strategy for mapping a function over independent inputs: [fn(x, shared) for x in xs]."""

  def __call__(self, fn: Callable[[Any, Any], Any], xs: PyTree, shared: PyTree) -> PyTree:
    """Applies `fn` to each entry along the leading axis of `xs`; `shared` is common to all."""

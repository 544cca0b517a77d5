"""The core types: a rule, a task, estimators, and what passes between them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import optax

from l2o.errors import InputError

PyTree = Any
Params = PyTree
Theta = PyTree  # meta-parameters: what meta-training learns
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Horizon = int | jax.Array  # [] K, the number of inner steps; traced or not
Start = tuple[Params, PyTree]  # parameters and model state
LossAndAux = tuple[jax.Array, tuple[PyTree, Metrics]]  # loss [], (model state, metrics)


class InitTheta(Protocol):
  """Draws theta for parameters of these shapes."""

  def __call__(self, key: jax.Array, params: Params, /) -> Theta:
    """key []; params or their shapes; theta of any shapes."""


class Bind(Protocol):
  """Makes an optax transformation from theta, for a run of K steps."""

  def __call__(self, theta: Theta, /, num_steps: Horizon) -> optax.GradientTransformationExtraArgs:
    """theta as `init` returns it; num_steps []."""


class Diagnose(Protocol):
  """What the last step did, to plot."""

  def __call__(self, state: PyTree, /) -> Metrics:
    """The state of the bound rule; arrays of any shapes, usually one entry per layer."""


class Retarget(Protocol):
  """Fits theta to other parameters."""

  def __call__(self, theta: Theta, params: Params, /, on_mismatch: str = 'error') -> Theta:
    """params or their shapes; theta with the shapes that `init` gives it for them."""


class EvalParams(Protocol):
  """The parameters to evaluate, if they are not the trained ones."""

  def __call__(self, state: PyTree, params: Params, /) -> Params:
    """The state of the bound rule, and the trained parameters; a tree of the same shapes."""


class InitTask(Protocol):
  """Where inner training starts: fresh, or from pretrained parameters."""

  def __call__(self, key: jax.Array, /, pretrained: Start | None = None) -> Start:
    """key []; parameters and model state of the model's shapes."""


class Loss(Protocol):
  """The loss to minimize, the new model state, and metrics of the batch."""

  def __call__(
    self, params: Params, model_state: PyTree, key: jax.Array, batch: Batch, /
  ) -> LossAndAux:
    """key []; batch leaves [B, ...]; loss [], model state as it came in, metrics of any shapes."""


class Evaluate(Protocol):
  """The metrics to report, 'loss' among them."""

  def __call__(self, params: Params, model_state: PyTree, batch: Batch, /) -> Metrics:
    """batch leaves [E, ...]; metrics []."""


def no_diagnostics(state: PyTree) -> Metrics:
  """`LearnedRule.diagnostics` of a rule with nothing to plot."""
  del state
  return {}


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

  init: InitTheta
  bind: Bind
  diagnostics: Diagnose = no_diagnostics
  retarget: Retarget = keep_theta
  eval_params: EvalParams = keep_params


class Task(NamedTuple):
  """An inner problem: a starting point, a loss to minimize, and the metrics to report.

  `whole` is the task in which the network that it starts from is trained, where that is a different
  task, as with adapters of a frozen network.
  """

  init: InitTask
  loss: Loss
  evaluate: Evaluate
  whole: 'Task | None' = None


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


# What a meta-loss is computed on: a TaskBatch, unless the meta-loss is the caller's own.
Tasks = Any
# The gradient w.r.t. theta, the estimator's state and metrics []; among the metrics 'loss',
# 'candidates' (how many thetas were tried) and 'nonfinite' (how many of them had no finite loss).
MetaGradient = tuple[Theta, PyTree, Metrics]


class MetaLoss(Protocol):
  """The objective of meta-training."""

  def __call__(self, theta: Theta, tasks: Tasks, /) -> Metrics:
    """Metrics [], averaged over the tasks, 'loss' among them."""


class InitEstimator(Protocol):
  """The state before the first generation."""

  def __call__(self, theta: Theta, key: jax.Array, /) -> PyTree:
    """key []; arrays of any shapes."""


class Estimate(Protocol):
  """The meta-gradient on a generation's tasks."""

  def __call__(self, theta: Theta, state: PyTree, key: jax.Array, tasks: Tasks, /) -> MetaGradient:
    """key []; a gradient with the shapes of theta, metrics []."""


class Ask(Protocol):
  """One candidate by its number, so that a device makes only its share of a generation."""

  def __call__(self, theta: Theta, state: PyTree, key: jax.Array, number: jax.Array, /) -> Theta:
    """key [] of the generation; number [] int32, 0 to population - 1; the shapes of theta."""


class Tell(Protocol):
  """The meta-gradient from the metrics of a generation's candidates."""

  def __call__(
    self, theta: Theta, state: PyTree, key: jax.Array, metrics: Metrics, /
  ) -> MetaGradient:
    """The key [] that `ask` was given, metrics [population]; the shapes of theta, metrics []."""


class Estimator(NamedTuple):
  """An estimate of the meta-gradient d(meta-loss) / d(theta), with the meta-loss inside."""

  init: InitEstimator
  estimate: Estimate


class EvolutionStrategy(NamedTuple):
  """An estimate of the meta-gradient from losses alone; the caller runs the candidates.

  `l2o.estimators.strategy.estimator` turns it into an `Estimator`.
  """

  population: int  # n, candidates in a generation
  init: InitEstimator
  ask: Ask
  tell: Tell


class StartUnroll(Protocol):
  """A new episode of an inner problem."""

  def __call__(self, theta: Theta, key: jax.Array, tasks: Tasks, /) -> PyTree:
    """key [] of the episode's start; arrays of any shapes, but no typed keys."""


class StepUnroll(Protocol):
  """One inner step of an episode."""

  def __call__(
    self, theta: Theta, state: PyTree, number: jax.Array, key: jax.Array, tasks: Tasks, /
  ) -> tuple[PyTree, jax.Array]:
    """number [] int32 of the step, from 0; key [] of the step; the state after it, its loss []."""


class EvaluateUnroll(Protocol):
  """The loss on an evaluation batch."""

  def __call__(self, theta: Theta, state: PyTree, tasks: Tasks, /) -> jax.Array:
    """loss []."""


def no_evaluation(theta: Theta, state: PyTree, tasks: Tasks) -> jax.Array:
  """`Unroll.evaluate` of an inner problem without evaluation data."""
  raise InputError(
    "this inner problem has no evaluation: set estimator.objective = 'mean' or give its Unroll an "
    '`evaluate`'
  )


class Unroll(NamedTuple):
  """An inner problem that is unrolled step by step, for estimators that keep it between estimates.

  `tasks` is what `estimate` was given, for all particles alike; the horizon is `tasks.num_steps`.
  """

  init: StartUnroll
  step: StepUnroll
  evaluate: EvaluateUnroll = no_evaluation


class InitOnline(Protocol):
  """The state before the first window."""

  def __call__(self, theta: Theta, key: jax.Array, tasks: Tasks, /) -> PyTree:
    """key []; tasks or their shapes; arrays [particles, ...]."""


class OnlineEstimator(NamedTuple):
  """An estimate from one window of persistent inner problems, with the `Unroll` inside.

  Its state has one particle for each index of the leading axis: an inner problem at its place in
  an episode. Only `map_fn` and a mean connect them, so the axis may be sharded.
  """

  particles: int
  inner_steps: int  # per estimate, summed over all runs of all particles
  init: InitOnline
  estimate: Estimate


class MapFn(Protocol):
  """Strategy for mapping a function over independent inputs: [fn(x, shared) for x in xs]."""

  def __call__(self, fn: Callable[[PyTree, PyTree], PyTree], xs: PyTree, shared: PyTree) -> PyTree:
    """Applies `fn` to each entry along the leading axis of `xs`; `shared` is common to all."""

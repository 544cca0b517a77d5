"""A training job: any task with any optimizer, by config; also used for pretraining.

Data-parallel over the mesh's 'data' axis; rules place parameters over its 'model' axis.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview
from jax.sharding import Mesh, NamedSharding

from checkpoints import Checkpoints
from datasets.input_pipeline import Fed
from l2o.errors import InputError, RunError
from l2o.inner.rollout import begin, measure
from l2o.inner.step import InnerState, fetch, inner_step
from l2o.trees import layer_paths
from l2o.types import Batch, LearnedRule, Metrics, Params, PyTree, Task, Theta
from trainers.harness import stage
from trainers.harness.folder import BEST, BEST_RECORD, PARAMETERS, Folder
from trainers.processes import agreement, arrays
from trainers.resources import host_reading, memory, meshes
from trainers.stages import reinit
from trainers.stages.effective_rate import measured
from trainers.stages.state import TrainState


class Train(NamedTuple):
  """A training job, ready to be prepared."""

  name: str  # name of the config's block, for messages
  task: Task
  rule: LearnedRule
  theta: Theta | None  # None: use the rule's `init`
  sample: Callable[[int], Batch]  # step number -> its batch
  fresh: Callable[[int], Batch] | None  # step number -> the batch on which a guard compares
  store: PyTree  # arrays that batches look up
  evaluation: Batch | None
  num_steps: int
  log_every: int
  eval_every: int  # 0: only at the end
  mesh: Mesh
  placement: Sequence[tuple[str, Sequence[str | None]]]  # (regular expression, axes) of parameters
  policy: reinit.Policy
  seed: int
  start: tuple[Params, PyTree] | None  # (params, model_state) of a trained network to start from
  remedy: str  # for the error when the loss is not finite
  fed: Fed | None = None  # reads the images of a batch on the host


class Given(NamedTuple):
  """Other inputs of a compiled step; runs that differ only in these share compiled programs."""

  theta: Theta
  store: PyTree
  key: jax.Array  # for all random draws


class Ready(NamedTuple):
  """A job that is ready for its first step."""

  state: TrainState
  given: Given
  feed: Callable[[int], tuple]  # step number -> its batches
  step: Callable[..., tuple[TrainState, Metrics]]  # (state, batches) -> (state, metrics), donating
  close: Callable[[], None]  # stops reading ahead


class Ended(NamedTuple):
  """The result of a job."""

  state: TrainState
  evaluation: 'Evaluation | None'  # None without an evaluation batch


def run(plan: Train, folder: Folder, options: stage.Options) -> Ended:
  """Trains, or resumes from the folder's checkpoint.

  Writes `metrics.jsonl`, `parameters.txt` and, given an evaluation batch, `best/`: the model with
  the lowest evaluation loss.

  Raises:
    InputError: `best.json` from an earlier start is damaged.
    RunError: the loss is not finite and the policy is `stop`.
  """
  ready = prepare(plan)
  layers = layer_paths(ready.state.inner.params)
  evaluation = None
  if plan.evaluation is not None:
    evaluation = Evaluation(plan, folder, ready.state.inner)
  overview = parameter_overview.get_parameter_overview(arrays.get(ready.state.inner.params))
  folder.write_text(PARAMETERS, overview)
  with contextlib.closing(ready):
    state = stage.run(
      ready.step,
      ready.state,
      feed=ready.feed,
      stop=plan.num_steps,
      check=lambda number, metrics: _check(plan, number, metrics),
      log_every=plan.log_every,
      unit='step',
      folder=folder,
      options=options,
      expand=lambda metrics: expand(metrics, layers),
      evaluate=evaluation and stage.Evaluate(plan.eval_every or plan.num_steps, evaluation),
    )
  return Ended(state, evaluation)


def prepare(plan: Train) -> Ready:
  """The initial state on its devices, and the step, which is compiled on its first call."""
  given = arrays.put(_given(plan), meshes.replicated(plan.mesh))
  spread = meshes.batch_sharding(plan.mesh, axis=0)
  places = _places(plan, given)
  advance = _compiled(plan, places)

  batches = _batches(plan, spread)

  def feed(number: int) -> tuple[Batch, Batch | None]:
    fresh = arrays.put(plan.fresh(number), spread) if plan.fresh else None
    return batches(number), fresh

  def step(state: TrainState, batches: tuple) -> tuple[TrainState, Metrics]:
    return advance(state, batches, given)

  state = jax.jit(partial(_start, plan), out_shardings=places)(given, plan.start)
  return Ready(state, given, feed, step, getattr(batches, 'close', lambda: None))


def held_shapes(plan: Train) -> tuple[Given, TrainState]:
  """What a job holds besides its data, as shapes with shardings."""
  given = meshes.shaped(jax.eval_shape(lambda: _given(plan)), meshes.replicated(plan.mesh))
  state = jax.eval_shape(partial(_start, plan), given, plan.start)
  return given, meshes.shaped(state, _places(plan, given))


def lower(plan: Train) -> jax.stages.Lowered:
  """The step, from shapes alone; its first argument is the state."""
  given, state = held_shapes(plan)
  places = jax.tree.map(lambda x: x.sharding, state)
  batches = meshes.shaped(_first(plan), meshes.batch_sharding(plan.mesh, axis=0))
  return _compiled(plan, places).lower(state, batches, given)


def lower_evaluation(plan: Train, batch: PyTree) -> jax.stages.Lowered:
  """The evaluation on a batch or its shapes, lowered from shapes alone."""
  whole = meshes.shaped((batch, plan.store), meshes.replicated(plan.mesh))
  return _evaluating(plan).lower(held_shapes(plan)[1].inner, *whole)


def _evaluating(plan: Train) -> Any:
  """Compiles (state's inner part, batch, store) -> metrics."""

  def evaluate(inner: InnerState, batch: Batch, store: PyTree) -> Metrics:
    state = inner._replace(opt_state=inner.opt_state.inner)
    return measure(plan.rule, plan.task, state, fetch(store, batch))

  # The optimizer's state stays on the device even if it is unused, and a plan counts it.
  return jax.jit(evaluate, keep_unused=True)


def _compiled(plan: Train, places: PyTree) -> Any:
  # If the compiler placed the state, the second step would be another program, with other bits.
  out = places, meshes.replicated(plan.mesh)
  return jax.jit(_step(plan), donate_argnums=0, out_shardings=out)


def _first(plan: Train) -> tuple[Batch, Batch | None]:
  """The first step's batches, on the host."""
  batch = plan.sample(0)
  if plan.fed:
    index = batch['index']
    image = plan.fed.read(int(index[0]))
    batch = {'image': np.zeros((len(index), *image.shape), np.uint8), 'label': batch['label']}
  return batch, plan.fresh(0) if plan.fresh else None


def _batches(plan: Train, place: NamedSharding) -> Callable[[int], Batch]:
  """Step number -> its batch on the mesh."""
  if plan.fed is None:
    return lambda number: arrays.put(plan.sample(number), place)
  drawn = host_reading.Drawn(plan.sample, plan.seed)
  return host_reading.OnMesh(plan.fed, drawn, plan.num_steps, place, axis=0)


def check_shapes(plan: Train) -> None:
  """Traces the first step with shapes only. Raises whatever parts of the job raise."""
  given = jax.eval_shape(lambda: _given(plan))
  _check_start(plan)
  state = jax.eval_shape(partial(_start, plan), given, plan.start)
  places = meshes.placed(plan.mesh, plan.placement, state)
  memory.check_fits(state, places, f'the state of {plan.name} is too large; shrink model or task')
  jax.eval_shape(_step(plan), state, _first(plan), given)


def trained_shapes(plan: Train) -> tuple[Params, PyTree]:
  """The shapes of the trained (params, model_state)."""

  def start() -> tuple[Params, PyTree]:
    inner = _start(plan, _given(plan), plan.start).inner
    return plan.rule.eval_params(inner.opt_state.inner, inner.params), inner.model_state

  return jax.eval_shape(start)


def _check_start(plan: Train) -> None:
  """Checks that the network to start from matches, except for layers a task reinitialises."""
  if plan.start is None:
    return

  def arrays(start: tuple[Params, PyTree] | None) -> dict[str, str]:
    params, model_state = jax.eval_shape(plan.task.init, jax.random.key(0), start)
    tree = {'params': params, 'model_state': model_state}
    listed = zip(layer_paths(tree), jax.tree.leaves(tree), strict=True)
    return {path: f'{x.dtype}{list(x.shape)}' for path, x in listed}

  shapes = arrays(plan.start), arrays(None)
  for path in sorted(shapes[0].keys() | shapes[1].keys()):
    there, here = (side.get(path, 'nothing') for side in shapes)
    if there != here:
      raise InputError(
        f'start has {there} at {path}, but the model here has {here}; use the model that start was '
        f'trained with'
      )


def best(folder: Folder, last: TrainState) -> tuple[InnerState, int]:
  """The state with the lowest evaluation loss in a job's folder, and its step.

  If no evaluation was finite, no state was kept: returns the last state and step 0.

  Raises:
    RunError: the saved state is damaged.
  """
  if not agreement.decided(lambda: (folder / BEST).exists() or (folder / BEST_RECORD).exists()):
    return last.inner, 0
  inner, step = _kept(folder, last.inner)
  recorded = agreement.decided(lambda: folder.read_json(BEST_RECORD, 'delete it') if step else {})
  if not step or step != recorded.get('step'):
    raise RunError(
      f'{folder / BEST} is damaged, so the best model cannot be restored; delete {folder} and rerun'
    )
  return inner, step


def _kept(folder: Folder, like: InnerState) -> tuple[InnerState, int]:
  kept = Checkpoints(folder / BEST, decided=agreement.decided)
  found = kept.restore_or(like)
  kept.close()
  return found


def trained(plan: Train, inner: InnerState) -> tuple[Params, PyTree]:
  """The trained (params, model_state), on the host."""
  params = plan.rule.eval_params(inner.opt_state.inner, inner.params)
  return arrays.get((params, inner.model_state))


class Evaluation:
  """Evaluates a job's state, and keeps the best one in `best/`.

  Args:
    plan: the job, with an evaluation batch.
    folder: the job's folder.
    like: a state of the job, with the shapes and shardings of a saved one.

  Raises:
    InputError: the record of the best state so far is damaged.
  """

  def __init__(self, plan: Train, folder: Folder, like: InnerState):
    self._folder = folder
    self._batch = arrays.put(plan.evaluation, meshes.replicated(plan.mesh))
    self._store = arrays.put(plan.store, meshes.replicated(plan.mesh))
    self._evaluate = _evaluating(plan)
    self._lowest = self._recorded(like)

  def __call__(self, step: int, state: TrainState) -> dict[str, float]:
    found = self.measure(state.inner)
    if math.isfinite(found['loss']) and found['loss'] < self._lowest:
      saved = Checkpoints(self._folder / BEST, keep=1, decided=agreement.decided)
      saved.save(step, state.inner)
      saved.close()
      self._folder.write_json(BEST_RECORD, {'step': step, **found})
      self._lowest = found['loss']
    return {f'eval_{name}': value for name, value in found.items()}

  def measure(self, inner: InnerState) -> dict[str, float]:
    """The metrics of a state on the evaluation batch."""
    measured = arrays.get(self._evaluate(inner, self._batch, self._store))
    return {name: float(value) for name, value in measured.items()}

  def _recorded(self, like: InnerState) -> float:
    """The lowest loss so far, measured again, since nothing vouches for the record."""
    recorded = agreement.decided(self._record)
    if agreement.decided((self._folder / BEST).exists):
      inner, step = _kept(self._folder, like)
      if step:
        found = {'step': step, **self.measure(inner)}
        if found != recorded:
          self._folder.write_json(BEST_RECORD, found)
        return found['loss']
    return recorded.get('loss', math.inf)

  def _record(self) -> dict[str, Any]:
    path, remedy = (
      self._folder / BEST_RECORD,
      'delete it, and the model in best/ is evaluated again',
    )
    if not path.exists():
      return {}
    held = self._folder.read_json(BEST_RECORD, remedy)
    if not isinstance(held, dict) or not isinstance(held.get('loss'), float):
      raise InputError(f'{path} has no loss; {remedy}')
    return held


def expand(metrics: Mapping[str, Any], layers: Sequence[str]) -> dict[str, float]:
  """Metrics as numbers; a vector with one entry per layer becomes one number per layer.

  Example:
    >>> expand({'loss': np.float32(0.5), 'mu': np.array([1.0, 2.0])}, ['a', 'b/c'])
    {'loss': 0.5, 'mu/a': 1.0, 'mu/b/c': 2.0}
  """
  flat: dict[str, float] = {}
  for name, value in metrics.items():
    if np.ndim(value) == 0:
      flat[name] = float(value)
    elif np.shape(value) == (len(layers),):
      flat |= {f'{name}/{layer}': float(x) for layer, x in zip(layers, value, strict=True)}
  return flat


def _given(plan: Train) -> Given:
  key = jax.random.key(plan.seed)
  if plan.theta is not None:
    return Given(plan.theta, plan.store, key)
  shapes = jax.eval_shape(lambda key: plan.task.init(key)[0], key)
  of_theta = jax.random.fold_in(jax.random.fold_in(key, 0), 1)  # 0 is used for the network
  return Given(plan.rule.init(of_theta, shapes), plan.store, key)


def _bind(plan: Train, theta: Theta, kept: reinit.Kept | None) -> Any:
  """The optimizer, with the current horizon if a policy changes it."""
  horizon = plan.num_steps if kept is None else kept.num_steps
  return measured(plan.rule.bind(theta, horizon))


def _places(plan: Train, given: Given) -> PyTree:
  """The shardings of a state, the same before and after every step."""
  shapes = jax.eval_shape(partial(_start, plan), given, plan.start)
  return meshes.placed(plan.mesh, plan.placement, shapes)


def _start(plan: Train, given: Given, pretrained: tuple[Params, PyTree] | None) -> TrainState:
  key = jax.random.fold_in(given.key, 0)  # step k uses k + 1
  params, model_state = plan.task.init(key, pretrained)
  tx = measured(plan.rule.bind(given.theta, plan.num_steps))
  inner = begin(tx, params, model_state)
  return TrainState(jnp.zeros((), jnp.int32), inner, plan.policy.init(inner, plan.num_steps))


def _step(plan: Train) -> Callable[..., tuple[TrainState, Metrics]]:
  def step(
    state: TrainState, batches: tuple[Batch, Batch | None], given: Given
  ) -> tuple[TrainState, Metrics]:
    batch, fresh = batches
    after, metrics = inner_step(
      plan.task,
      _bind(plan, given.theta, state.kept),
      state.inner,
      jax.random.fold_in(given.key, state.step + 1),
      fetch(given.store, batch),
      None if fresh is None else lambda: fetch(given.store, fresh),
    )
    opt_state = after.opt_state
    metrics |= plan.rule.diagnostics(opt_state.inner)
    metrics['effective_learning_rate'] = opt_state.effective_learning_rate
    inner, kept = plan.policy.apply(state.kept, state.inner, after, metrics['loss'])
    if kept is not None:
      metrics['restarts'] = kept.restarts
    return TrainState(state.step + 1, inner, kept), metrics

  return step


def _check(plan: Train, step: int, metrics: Mapping[str, Any]) -> None:
  if plan.policy.stops and not math.isfinite(metrics['loss']):
    raise RunError(f'{plan.name}: the loss of step {step} is not finite; {plan.remedy}')

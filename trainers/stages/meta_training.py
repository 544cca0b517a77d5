"""Meta-training: theta follows an estimate of the meta-gradient over fresh tasks."""

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import parameter_overview
from jax.sharding import Mesh

from datasets.sampler import TaskSampler
from l2o.errors import InputError, RunError
from l2o.estimators import strategy
from l2o.inner.mapping import on_device
from l2o.inner.rollout import start_episodes
from l2o.optax_optimizers import meta_optimizer
from l2o.registry import call, choose
from l2o.types import (
  Episode,
  Estimator,
  LearnedRule,
  Metrics,
  OnlineEstimator,
  PyTree,
  Task,
  TaskBatch,
  Theta,
)
from trainers.checks import blocks, trial
from trainers.harness import stage
from trainers.harness.folder import PARAMETERS, Folder
from trainers.processes import arrays
from trainers.resources import meshes, run_data
from trainers.stages import estimation, host_rollout, theta_evaluation
from trainers.stages.episode_batches import Draws, EpisodeBatches, Read
from trainers.stages.host_rollout import FedEpisodes, Host
from trainers.stages.state import MetaState


class MetaTrain(NamedTuple):
  """A meta-training stage, ready to run."""

  task: Task
  rule: LearnedRule
  estimator: Mapping[str, Any]
  spec: blocks.MetaTrain
  tasks: TaskSampler
  stores: PyTree
  host: Host | None  # feeds images that are not on the device
  mesh: Mesh
  seed: int


def build(
  config: blocks.PipelineConfig, data: run_data.Data, task: Task, rule: LearnedRule
) -> MetaTrain:
  """Builds the stage without computing or writing anything. Raises InputError."""
  spec = config.meta_train
  if spec.min_steps > spec.max_steps:
    raise InputError(
      f'meta_train.min_steps must be at most max_steps = {spec.max_steps}, not {spec.min_steps}'
    )
  choose(spec.start, config.pretrain.starts, 'start')
  seed = run_data.stream_seed(data.seed, 'meta_train')
  if data.feed.chunk_steps and spec.eval_every:
    raise InputError(
      'meta_train.eval_every must be 0 where the host feeds the images: set it to 0, or set '
      'feed.chunk_steps = 0'
    )
  batches = [config.episodes.batch_size, config.episodes.eval_size]
  plan = MetaTrain(
    task=task,
    rule=rule,
    estimator=config.estimator,
    spec=spec,
    tasks=run_data.task_sampler(data, config.episodes, spec.source, spec.classes, seed),
    stores=run_data.stores(data, [spec.source])[spec.source],
    host=host_rollout.host(data, spec.source),
    mesh=meshes.build_mesh(spec.mesh, 'meta_train', batches),
    seed=seed,
  )
  _parts(plan)  # checks their arguments now, not an hour later
  return plan


def run(plan: MetaTrain, pretrained: tuple, folder: Folder, options: stage.Options) -> Theta:
  """Meta-trains, or resumes from the folder's newest checkpoint; returns the last theta."""
  whole = meshes.replicated(plan.mesh)
  pretrained, stores = arrays.put((pretrained, plan.stores), whole)
  batches = _batches(plan, plan.host) if plan.host and plan.spec.num_generations else None
  if plan.host:
    step = _fed_step(plan, plan.host, batches, pretrained)
  else:
    advance = generation(plan)

    def step(state: MetaState, inputs: tuple) -> tuple[MetaState, Metrics]:
      return advance(state, place(inputs[1:], plan.mesh), pretrained, stores)

  state = init(plan)
  folder.write_text(PARAMETERS, parameter_overview.get_parameter_overview(arrays.get(state.theta)))
  with contextlib.closing(batches) if batches else contextlib.nullcontext():
    state = stage.run(
      step,
      state,
      feed=lambda number: (number, *draw(plan, number)),
      stop=plan.spec.num_generations,
      check=_check,
      log_every=1,
      unit='generation',
      folder=folder,
      options=options,
      evaluate=evaluation(plan, pretrained, stores),
    )
  return arrays.get(state.theta)


def evaluation(plan: MetaTrain, pretrained: tuple, stores: PyTree) -> stage.Evaluate | None:
  """The evaluation of theta, if there is one."""
  if not plan.spec.eval_every:
    return None
  key = jax.random.key(run_data.stream_seed(plan.seed, 'evaluation'))
  parts = plan.spec, plan.task, plan.rule, plan.tasks, key, plan.mesh
  return theta_evaluation.evaluation(*parts, pretrained, stores)


def generation(plan: MetaTrain) -> Any:
  """A generation as one program: (state, inputs, pretrained, stores) -> (state, metrics).

  It donates the state; `place` puts its inputs, drawn by `draw`, on the mesh.
  """
  parts = _parts(plan)
  places = _places_of_state(plan, parts[0]), meshes.replicated(plan.mesh)
  return jax.jit(_step(plan, *parts), donate_argnums=0, out_shardings=places)


def lower(plan: MetaTrain, pretrained: tuple) -> jax.stages.Lowered:
  """A generation, from shapes alone; its first argument is the state.

  Args:
    plan: the stage, with its images on the device.
    pretrained: (params, model_state) or their shapes.
  """
  whole, parts = meshes.replicated(plan.mesh), _parts(plan)
  state = jax.eval_shape(partial(_init_state, plan, *parts), jax.random.key(0))
  places = _places_of_state(plan, parts[0])
  state = MetaState(*map(meshes.shaped, state, places))
  (drawn, num_steps), (of_drawn, of_steps) = draw(plan, 0), _places(plan.mesh)
  shaped = {name: meshes.shaped(part, of_drawn[name]) for name, part in drawn.items()}
  shapes = shaped, meshes.shaped(num_steps, of_steps)
  return generation(plan).lower(state, shapes, *meshes.shaped((pretrained, plan.stores), whole))


def _parts(plan: MetaTrain) -> tuple[Any, optax.GradientTransformation]:
  """The estimator and the meta-optimizer."""
  fed = plan.host is not None
  built = estimation.build(plan.estimator, plan.spec, plan.task, plan.rule, plan.mesh, fed)
  return built, _meta_optimizer(plan)


def _places_of_state(plan: MetaTrain, estimator: estimation.Built) -> MetaState:
  """The sharding of each part of the state."""
  whole = meshes.replicated(plan.mesh)
  return MetaState(whole, whole, whole, estimation.place_of_state(estimator, plan.mesh))


def check_shapes(plan: MetaTrain, pretrained: tuple) -> None:
  """Traces a generation with shapes only.

  Args:
    plan: the stage.
    pretrained: shapes of (params, model_state).

  Raises:
    InputError: rule, task, estimator and mesh do not fit together.
  """
  params = jax.eval_shape(lambda key: plan.task.init(key)[0], jax.random.key(0))
  trial.try_rule(plan.rule, None, params, 'rule', compares=plan.host is None)
  if plan.host:
    return
  estimator, optimizer = _parts(plan)
  with trial.said_of('meta-training: rule, task and estimator do not fit together'):
    state = jax.eval_shape(partial(_init_state, plan, estimator, optimizer), jax.random.key(0))
    step = _step(plan, estimator, optimizer)
    jax.eval_shape(step, state, draw(plan, 0), pretrained, plan.stores)


def _meta_optimizer(plan: MetaTrain) -> optax.GradientTransformation:
  horizon = max(plan.spec.num_generations, 1)
  return call(meta_optimizer, plan.spec.optimizer, 'meta_train.optimizer', num_generations=horizon)


def draw(plan: MetaTrain, generation: int) -> tuple[dict[str, Any], np.ndarray]:
  """A generation's tasks and its horizon K ~ U{min_steps..max_steps}, determined by the seed."""
  tasks = plan.tasks.sample(generation, plan.spec.meta_batch, plan.spec.max_steps)
  return {part: tasks[part] for part in ('train', 'evaluation')}, _horizon(plan, generation)


def _horizon(plan: MetaTrain, generation: int) -> np.int32:
  rng = np.random.default_rng([run_data.stream_seed(plan.seed, 'num_steps'), generation])
  return np.int32(rng.integers(plan.spec.min_steps, plan.spec.max_steps, endpoint=True))


def place(inputs: tuple, mesh: Mesh) -> tuple:
  """Splits each inner batch over the mesh's 'data' axis and replicates everything else."""
  (drawn, num_steps), (of_drawn, of_steps) = inputs, _places(mesh)
  placed = {name: arrays.put(part, of_drawn[name]) for name, part in drawn.items()}
  return placed, arrays.put(num_steps, of_steps)


def _places(mesh: Mesh) -> tuple[dict[str, Any], Any]:
  """Where the parts of a draw lie on a mesh."""
  batches = {'train': 2, 'evaluation': 1}  # the axis of a batch's examples
  places = {name: meshes.batch_sharding(mesh, axis) for name, axis in batches.items()}
  return places, meshes.replicated(mesh)


def init(plan: MetaTrain) -> MetaState:
  """The state before the first generation, on the mesh."""
  key = jax.random.fold_in(jax.random.key(plan.seed), 0)  # generation g uses g + 1
  parts = _parts(plan)
  places = _places_of_state(plan, parts[0])
  return jax.jit(partial(_init_state, plan, *parts), out_shardings=places)(key)


def _init_state(
  plan: MetaTrain, estimator: estimation.Built, optimizer: Any, key: jax.Array
) -> MetaState:
  # A task's head differs in shape from the pretrained one; theta must fit the task's.
  shapes = jax.eval_shape(lambda k: plan.task.init(k)[0], key)
  theta_key, estimator_key = jax.random.split(key)
  theta = plan.rule.init(theta_key, shapes)
  if isinstance(estimator, OnlineEstimator):
    kept = estimator.init(theta, estimator_key, _shapes_of_tasks(plan))
  else:
    kept = estimator.init(theta, estimator_key)
  return MetaState(jnp.zeros((), jnp.int32), theta, optimizer.init(theta), kept)


def _shapes_of_tasks(plan: MetaTrain) -> TaskBatch:
  """The shapes of each generation's tasks, whichever network the episodes start from."""
  drawn, num_steps = draw(plan, 0)
  start = partial(start_episodes, plan.task, pretrained=None)
  episodes = jax.eval_shape(lambda key: start(key=key, draw=drawn), jax.random.key(0))
  return TaskBatch(episodes, plan.stores, num_steps)


def _step(plan: MetaTrain, estimator: Estimator, optimizer: Any) -> Any:
  def step(
    state: MetaState, inputs: tuple, pretrained: tuple, stores: PyTree
  ) -> tuple[MetaState, Metrics]:
    drawn, num_steps = inputs
    task_key, noise_key = _keys(plan, state)
    episodes = start_episodes(plan.task, task_key, pretrained, drawn)
    tasks = TaskBatch(episodes, stores, num_steps)
    estimate = estimator.estimate(state.theta, state.estimator, noise_key, tasks)
    return _descend(optimizer, state, estimate, num_steps)

  return step


def _batches(plan: MetaTrain, host: Host) -> EpisodeBatches:
  """The training batches of all generations, read ahead."""
  count = plan.spec.meta_batch
  episodes = [
    Read(generation, 0, count, int(_horizon(plan, generation)))
    for generation in range(plan.spec.num_generations)
  ]
  draws = Draws(plan.tasks, count, plan.spec.max_steps)
  return EpisodeBatches(host, episodes, draws, plan.seed, plan.mesh)


def _fed_step(plan: MetaTrain, host: Host, batches: EpisodeBatches, pretrained: tuple) -> Any:
  """A generation whose images the host feeds; the same result as `_step`."""
  estimator, optimizer = _parts(plan)
  pairs = FedEpisodes(plan.task, plan.rule, plan.mesh, on_device(plan.spec.mapping))

  @jax.jit
  def begin(state: MetaState, drawn: dict, pretrained: tuple) -> tuple[Theta, Episode]:
    task_key, _ = _keys(plan, state)
    return candidates(plan, state), start_episodes(plan.task, task_key, pretrained, drawn)

  @partial(jax.jit, donate_argnums=0, out_shardings=meshes.replicated(plan.mesh))
  def end(state: MetaState, metrics: Metrics, num_steps: Any) -> tuple[MetaState, Metrics]:
    _, noise_key = _keys(plan, state)
    means = jax.tree.map(lambda x: jnp.mean(x, axis=1), metrics)
    estimate = estimator.tell(state.theta, state.estimator, noise_key, means)
    return _descend(optimizer, state, estimate, num_steps)

  def step(state: MetaState, inputs: tuple) -> tuple[MetaState, Metrics]:
    generation, drawn, num_steps = inputs
    thetas, episodes = begin(state, host.start(drawn, plan.mesh), pretrained)
    chunks = batches.chunks(generation)
    return end(state, pairs.run(thetas, episodes, chunks, int(num_steps)), num_steps)

  return step


def candidates(plan: MetaTrain, state: MetaState) -> Theta:
  """The candidates [n, ...] of a generation whose images the host feeds."""
  estimator, _ = _parts(plan)
  return strategy.candidates(estimator, state.theta, state.estimator, _keys(plan, state)[1])


def _keys(plan: MetaTrain, state: MetaState) -> tuple[jax.Array, jax.Array]:
  """A generation's keys: one for its tasks, one for its noise."""
  key = jax.random.fold_in(jax.random.key(plan.seed), state.generation + 1)
  task_key, noise_key = jax.random.split(key)
  return task_key, noise_key


def _descend(
  optimizer: Any, state: MetaState, estimate: tuple, num_steps: Any
) -> tuple[MetaState, Metrics]:
  """Updates theta with an estimate of the meta-gradient."""
  grad, estimator_state, metrics = estimate
  updates, opt_state = optimizer.update(grad, state.opt_state, state.theta)
  theta = optax.apply_updates(state.theta, updates)
  metrics |= {
    'num_steps': num_steps,
    'grad_norm': optax.tree.norm(grad),
    'theta_norm': optax.tree.norm(theta),
  }
  return MetaState(state.generation + 1, theta, opt_state, estimator_state), metrics


def _check(generation: int, metrics: Mapping[str, float]) -> None:
  if metrics['nonfinite'] >= metrics['candidates']:
    raise RunError(
      f'meta-training: no candidate of generation {generation} ended with a finite loss and, in '
      f'reverse mode, a finite gradient; lower rule.log_step_norm, estimator.sigma, '
      f'estimator.window or meta_train.optimizer.learning_rate'
    )

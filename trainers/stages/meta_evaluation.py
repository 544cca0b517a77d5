"""Meta-evaluation: every optimizer on the same unseen tasks, at every horizon.

Learned and hand-designed rules run in the same inner loop and are measured by the same `evaluate`;
a family of hand-designed settings is a stack of thetas in one compiled program. With
`tuning_tasks` a family's setting is chosen on other tasks of the same classes, otherwise in
hindsight. The state of this stage is the table of each task's measurements, so it resumes at the
row where it stopped.
"""

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import Mesh

from datasets.sampler import TaskSampler
from l2o.errors import InputError
from l2o.inner.mapping import on_device
from l2o.inner.rollout import rollout, run_episode, start_episodes, start_with_keys
from l2o.inner.step import InnerState
from l2o.registry import choose
from l2o.trees import layer_paths
from l2o.types import Batch, Episode, LearnedRule, MapFn, Metrics, PyTree, Task, TaskBatch, Theta
from reports.records import MEASURES
from trainers.checks import blocks, evaluation, trial
from trainers.harness import stage
from trainers.harness.folder import TRACE, Folder
from trainers.processes import arrays
from trainers.resources import meshes, run_data, seen_classes
from trainers.stages import host_rollout, measured
from trainers.stages.episode_batches import Draws, EpisodeBatches, Read
from trainers.stages.host_rollout import FedEpisodes, Host
from trainers.stages.rows import Row, at_setting, baseline, label

RANDOM = 'random'  # start name for an untrained network
EVALUATION, TUNING = 0, 1  # draws of tasks: for the report, and for choosing learning rates
# (experiment, row, K, thetas, draw) -> metrics [tasks, settings]
Measure = Callable[[int, int, int, Theta, int], Metrics]


class Experiment(NamedTuple):
  """Where tasks for evaluation come from."""

  name: str
  source: str
  start: str  # which pretrained network, or RANDOM
  tasks: TaskSampler
  stores: PyTree
  host: Host | None  # feeds images that are not on the device


class MetaEvaluate(NamedTuple):
  """A meta-evaluation stage, ready to run; the learned row is added once its theta is known."""

  task: Task
  rule: LearnedRule
  rule_name: str
  baselines: Sequence[Row]
  experiments: Sequence[Experiment]
  spec: blocks.MetaEvaluate
  mesh: Mesh
  seed: int  # seed of this stage's draws
  run_seed: int
  leaks: Sequence[seen_classes.Leak]  # evaluated classes that an optimizer or a start has seen
  tasks_at_once: int  # if the host feeds their images

  def tunes(self, row: Row) -> bool:
    """Whether a row's setting is chosen on other tasks."""
    return bool(self.spec.tuning_tasks) and row.is_grid


def build(
  config: blocks.PipelineConfig, data: run_data.Data, task: Task, rule: LearnedRule
) -> MetaEvaluate:
  """Builds the stage without computing or writing anything. Raises InputError."""
  spec = config.meta_evaluate
  evaluation.check(spec)
  places = dict(sorted(spec.experiments.items()))
  stores = run_data.stores(data, [where.source for where in places.values()])
  experiments = [
    _experiment(name, where, config, data, stores[where.source]) for name, where in places.items()
  ]
  params = jax.eval_shape(lambda key: task.init(key)[0], jax.random.key(0))
  seed = run_data.stream_seed(data.seed, 'meta_evaluate')
  baselines = [baseline(name, block, params, seed) for name, block in spec.baselines.items()]
  mesh = meshes.build_mesh(spec.mesh, 'meta_evaluate')
  if mesh.shape['data'] > 1:
    raise InputError('meta_evaluate.mesh.data must be 1: tasks are spread over population alone')
  name = label(config.rule, spec.baselines)
  names = [name, *(shown for row in baselines for shown in row.names(spec.tuning_tasks))]
  if double := next((x for x in names if names.count(x) > 1), None):
    raise InputError(f'meta_evaluate.baselines: two rows are called {double!r}; rename one')
  evaluation.check_paper(spec, names)
  learned = {name: config.rule} | {row: block.rule for row, block in spec.baselines.items()}
  leaks = seen_classes.find(config, data, places, learned)
  if leaks and not spec.allow_seen_classes:
    raise InputError(f'{leaks[0]}; meta_evaluate.allow_seen_classes=True evaluates all the same')
  at_once = data.feed.tasks_at_once
  return MetaEvaluate(
    task, rule, name, baselines, experiments, spec, mesh, seed, data.seed, leaks, at_once
  )


def check_shapes(plan: MetaEvaluate, params: PyTree) -> None:
  """Traces one update of every row with shapes only; `params` belong to a task's network."""
  compares = not any(experiment.host for experiment in plan.experiments)
  trial.try_rule(plan.rule, None, params, 'rule', compares)
  for row in plan.baselines:
    theta = jax.tree.map(lambda x: x[0], row.thetas)
    trial.try_rule(row.rule, theta, params, f'meta_evaluate.baselines.{row.family}', compares)


def _experiment(
  name: str,
  where: blocks.Experiment,
  config: blocks.PipelineConfig,
  data: run_data.Data,
  store: PyTree,
) -> Experiment:
  seed = run_data.stream_seed(data.seed, f'meta_evaluate/{name}')
  tasks = run_data.task_sampler(data, config.episodes, where.source, where.classes, seed)
  start = choose(where.start, (*config.pretrain.starts, RANDOM), 'start')
  return Experiment(name, where.source, start, tasks, store, host_rollout.host(data, where.source))


def run(
  plan: MetaEvaluate,
  pretrained: Mapping[str, tuple],
  theta: Theta,
  folder: Folder,
  options: stage.Options,
) -> pd.DataFrame:
  """Evaluates all rows at all horizons; returns their records, ordered by experiment.

  Args:
    plan: the stage.
    pretrained: (params, model_state) of each start; RANDOM starts are freshly initialised.
    theta: the learned rule's theta.
    folder: the stage's folder.
    options: how often to report.
  """
  whole = meshes.replicated(plan.mesh)
  theta = arrays.put(theta, whole)
  learned = Row(plan.rule_name, [''], plan.rule, jax.tree.map(lambda x: x[None], theta), False)
  rows = [learned, *(row._replace(thetas=arrays.put(row.thetas, whole)) for row in plan.baselines)]
  starts = arrays.put(dict(pretrained), whole)
  num_tasks, tuning = plan.spec.num_tasks, plan.spec.tuning_tasks
  most = max(len(row.settings) for row in rows)
  places = range(len(plan.experiments)), range(len(rows))
  items = list(itertools.product(*places, plan.spec.num_steps))

  def step(table: measured.Table, numbered: tuple) -> tuple[measured.Table, Metrics]:
    number, (e, r, num_steps) = numbered
    thetas, found = rows[r].thetas, {}
    if plan.tunes(rows[r]):
      found = measured.of_tuning(measure(e, r, num_steps, thetas, TUNING))
      thetas = at_setting(thetas, found[measured.CHOSEN])
    found |= measure(e, r, num_steps, thetas, EVALUATION)
    means = {name: jnp.nanmean(found[name]) for name in MEASURES}
    return measured.enter(table, np.int32(number), found), means | {'num_steps': num_steps}

  with contextlib.ExitStack() as closing:
    if any(e.host for e in plan.experiments):
      measure = _fed(plan, rows, starts, closing)
    else:
      measure = _resident(plan, rows, starts)
    table = stage.run(
      step,
      arrays.put(measured.empty(len(items), num_tasks, tuning, most), whole),
      feed=lambda number: (number, items[number]),
      stop=len(items),
      check=lambda done, metrics: None,
      log_every=1,
      unit='row',
      folder=folder,
      options=options,
    )
  folder.write_arrays(TRACE, _trace(plan, starts, theta))
  return _records(plan, rows, items, arrays.get(table))


def _records(
  plan: MetaEvaluate, rows: Sequence[Row], items: Sequence[tuple], table: Mapping[str, np.ndarray]
) -> pd.DataFrame:
  parts = [
    measured.records_of(
      {name: column[number] for name, column in table.items()},
      rows[r],
      tuned=plan.tunes(rows[r]),
      experiment=plan.experiments[e].name,
      source=plan.experiments[e].source,
      seed=plan.run_seed,
      K=num_steps,
    )
    for number, (e, r, num_steps) in enumerate(items)
  ]
  return pd.concat(parts, ignore_index=True)


def _resident(plan: MetaEvaluate, rows: Sequence[Row], starts: Mapping) -> Measure:
  """Measures episodes whose images are on the device."""
  programs = [_program(plan, row) for row in rows]
  whole = meshes.replicated(plan.mesh)
  start = _starter(plan)
  stores = [arrays.put(e.stores, whole) for e in plan.experiments]
  episodes = {
    (e, draw): start(starts.get(experiment.start), _key(plan, draw), arrays.put(drawn, whole))
    for e, experiment in enumerate(plan.experiments)
    for draw, drawn in _draws(plan, experiment).items()
  }

  def measure(e: int, r: int, num_steps: int, thetas: Theta, draw: int) -> Metrics:
    return programs[r](thetas, TaskBatch(episodes[e, draw], stores[e], np.int32(num_steps)))

  return measure


def lower(
  plan: MetaEvaluate, row: Row, num_tasks: int, pretrained: Mapping[str, tuple]
) -> jax.stages.Lowered:
  """A row on tasks of the first experiment, from shapes alone; `pretrained` as in `run`."""
  whole, first = meshes.replicated(plan.mesh), plan.experiments[0]
  draw = _draw(first, EVALUATION, num_tasks, plan.spec.drawn_steps)
  key = jax.eval_shape(partial(_key, plan, EVALUATION))
  episodes = jax.eval_shape(_starter(plan), pretrained.get(first.start), key, draw)
  tasks = meshes.shaped(TaskBatch(episodes, first.stores, np.int32(0)), whole)
  return _program(plan, row).lower(meshes.shaped(row.thetas, whole), tasks)


def _program(plan: MetaEvaluate, row: Row) -> Any:
  map_fn = meshes.gathered_map(plan.mesh, on_device(plan.spec.mapping))
  map_settings = on_device(plan.spec.setting_mapping)
  return jax.jit(_measure(plan.task, row.rule, map_fn, map_settings))


def _fed(
  plan: MetaEvaluate, rows: Sequence[Row], starts: Mapping, closing: contextlib.ExitStack
) -> Measure:
  """Measures episodes whose images the host feeds, a few tasks at a time."""
  mapping = on_device(plan.spec.mapping)
  runners = [FedEpisodes(plan.task, row.rule, plan.mesh, mapping) for row in rows]
  start = jax.jit(partial(start_with_keys, plan.task))
  at_once = min(plan.tasks_at_once, plan.spec.num_tasks)
  reads, numbers = _reads(plan, rows, at_once)
  draws = [_draws(plan, experiment) for experiment in plan.experiments]
  steps = plan.spec.drawn_steps
  batches = [
    EpisodeBatches(e.host, reads, Draws(e.tasks, _counts(plan), steps), plan.seed, plan.mesh)
    for e in plan.experiments
  ]
  for reading in batches:
    closing.callback(reading.close)

  def measure(e: int, r: int, num_steps: int, thetas: Theta, draw: int) -> Metrics:
    experiment, parts, count = plan.experiments[e], [], _counts(plan)[draw]
    keys = jax.random.split(_key(plan, draw), (2, count))
    keys = arrays.put(keys, meshes.replicated(plan.mesh))
    for number, low in enumerate(range(0, count, at_once), numbers[r, num_steps, draw]):
      some = np.arange(low, low + at_once) % count
      few = jax.tree.map(lambda x, some=some: x[some], draws[e][draw])
      begun = experiment.host.start(few, plan.mesh)
      episodes = start(keys[:, some], starts.get(experiment.start), begun)
      chunks = batches[e].chunks(number)
      parts.append(runners[r].run(thetas, episodes, chunks, num_steps))
    return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1)[:, :count].T, *parts)

  return measure


def _reads(
  plan: MetaEvaluate, rows: Sequence[Row], at_once: int
) -> tuple[list[Read], dict[tuple[int, int, int], int]]:
  """All episodes of an experiment in order; (row, K, draw) -> the number of its first read."""
  reads: list[Read] = []
  numbers = {}
  for r, num_steps in itertools.product(range(len(rows)), plan.spec.num_steps):
    for draw in (TUNING, EVALUATION) if plan.tunes(rows[r]) else (EVALUATION,):
      numbers[r, num_steps, draw] = len(reads)
      lows = range(0, _counts(plan)[draw], at_once)
      reads += [Read(draw, low, at_once, num_steps) for low in lows]
  return reads, numbers


def _counts(plan: MetaEvaluate) -> dict[int, int]:
  """Draw -> its number of tasks."""
  tuning = {TUNING: plan.spec.tuning_tasks} if plan.spec.tuning_tasks else {}
  return {EVALUATION: plan.spec.num_tasks, **tuning}


def _draws(plan: MetaEvaluate, experiment: Experiment) -> dict[int, Any]:
  """The draws of an experiment: the same tasks for every row and horizon."""
  steps = plan.spec.drawn_steps
  return {draw: _draw(experiment, draw, count, steps) for draw, count in _counts(plan).items()}


def _key(plan: MetaEvaluate, draw: int) -> jax.Array:
  key = jax.random.key(plan.seed)
  return key if draw == EVALUATION else jax.random.fold_in(key, draw)


def _starter(plan: MetaEvaluate) -> Any:
  """(pretrained, key, draw) -> episodes: the same ones for every row and horizon."""
  return jax.jit(lambda params, key, drawn: start_episodes(plan.task, key, params, drawn))


def _draw(experiment: Experiment, draw: int, num_tasks: int, num_steps: int) -> Any:
  tasks = experiment.tasks.sample(draw, num_tasks, num_steps)
  return {part: tasks[part] for part in ('train', 'evaluation')}


def _measure(task: Task, rule: LearnedRule, map_fn: MapFn, map_settings: MapFn) -> Any:
  """(thetas, tasks) -> metrics [tasks, settings]: maps over tasks, then over settings."""

  def one(episode: Episode, shared: tuple) -> Metrics:
    thetas, data, num_steps = shared
    tasks = TaskBatch(episode, data, num_steps)
    return map_settings(lambda theta, _: run_episode(rule, task, theta, episode, tasks), thetas, ())

  def measure(thetas: Theta, tasks: TaskBatch) -> Metrics:
    return map_fn(one, tasks.episodes, (thetas, tasks.data, tasks.num_steps))

  return measure


def _read(plan: MetaEvaluate, experiment: Experiment, host: Host) -> Batch:
  """The training batches of the traced tasks, with their images."""
  count, num_steps = plan.spec.trace_tasks, plan.spec.trace_steps
  draws = Draws(experiment.tasks, count, num_steps)
  reads = [Read(EVALUATION, 0, count, num_steps)]
  batches = EpisodeBatches(host, reads, draws, plan.seed, plan.mesh)
  with contextlib.closing(batches):
    parts = [arrays.get(chunk) for _, chunk in batches.chunks(0)]
  joined = jax.tree.map(lambda *x: np.concatenate(x)[:num_steps], *parts)
  return jax.tree.map(lambda x: np.swapaxes(x, 0, 1), joined)


def _trace(plan: MetaEvaluate, starts: Mapping[str, tuple], theta: Theta) -> dict[str, np.ndarray]:
  """Records the learned rule's diagnostics at each step, on some tasks of the first experiment.

  Returns:
    The rule's diagnostics, each [tasks, K, ...], and 'layers', the layers' names.
  """
  num_steps = plan.spec.trace_steps
  first = plan.experiments[0]
  draw = _draw(first, EVALUATION, plan.spec.trace_tasks, num_steps)
  if first.host:
    draw['train'] = _read(plan, first, first.host)
  whole = meshes.replicated(plan.mesh)
  episodes = _starter(plan)(
    starts.get(first.start), _key(plan, EVALUATION), arrays.put(draw, whole)
  )
  map_fn = meshes.gathered_map(plan.mesh, on_device(plan.spec.mapping))

  def record(state: InnerState, metrics: Metrics) -> PyTree:
    return plan.rule.diagnostics(state.opt_state)

  def one(episode: Episode, shared: tuple) -> PyTree:
    theta, store = shared
    tx = plan.rule.bind(theta, num_steps)
    return rollout(plan.task, tx, episode, store, jnp.int32(num_steps), record)[1]

  traces = jax.jit(lambda theta, episodes, store: map_fn(one, episodes, (theta, store)))
  store = arrays.put(first.stores['train'], whole)
  diagnostics = arrays.get(traces(theta, episodes, store))
  return {**diagnostics, 'layers': np.asarray(layer_paths(episodes.params))}

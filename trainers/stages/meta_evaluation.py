"""Meta-evaluation: every optimizer on the same unseen tasks, at every horizon.

Learned and hand-designed rules run in the same inner loop and are measured by the same `evaluate`;
a family of hand-designed settings is a stack of thetas in one compiled program. The state of this
stage is the table of each task's measurements, so it resumes at the row where it stopped.
"""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import Mesh, NamedSharding

from datasets.sampler import TaskSampler
from datasets.source import on_demand
from l2o.errors import InputError
from l2o.inner.mapping import on_device
from l2o.inner.rollout import rollout, run_episode, start_episodes, start_with_keys
from l2o.inner.step import InnerState, fetch
from l2o.registry import build as build_from
from l2o.registry import call, choose
from l2o.rules import RULES
from l2o.trees import layer_paths
from l2o.types import Episode, LearnedRule, MapFn, Metrics, PyTree, Task, TaskBatch, Theta
from reports import records, results
from trainers.checks import blocks, trial
from trainers.harness import stage
from trainers.harness.folder import TRACE, Folder
from trainers.processes import arrays
from trainers.resources import meshes, run_data, seen_classes
from trainers.stages.host_rollout import FedEpisodes, Host

RANDOM = 'random'  # start name for an untrained network
MEASURES = ('accuracy', 'loss')
Table = dict[str, jax.Array]  # measure -> [items, tasks, settings]


class Row(NamedTuple):
  """Settings that share a compiled program: a family's rates, or one learned optimizer."""

  family: str
  settings: Sequence[str]  # one for each theta: the learning rates of a grid, or ''
  rule: LearnedRule
  thetas: Theta  # leaves [settings, ...]
  hand_designed: bool

  @property
  def names(self) -> list[str]:
    """The settings' names in tables."""
    return [results.label(self.family, setting) for setting in self.settings]


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
  leaks: Sequence[seen_classes.Leak]  # evaluated classes that an optimizer or its start has seen


def build(
  config: blocks.PipelineConfig, data: run_data.Data, task: Task, rule: LearnedRule
) -> MetaEvaluate:
  """Builds the stage without computing or writing anything. Raises InputError."""
  spec = config.meta_evaluate
  _check(spec)
  places = dict(sorted(spec.experiments.items()))
  stores = run_data.stores(data, [where.source for where in places.values()])
  experiments = [
    _experiment(name, where, config, data, stores[where.source]) for name, where in places.items()
  ]
  params = jax.eval_shape(lambda key: task.init(key)[0], jax.random.key(0))
  seed = run_data.stream_seed(data.seed, 'meta_evaluate')
  baselines = [_baseline(name, block, params, seed) for name, block in spec.baselines.items()]
  mesh = meshes.build_mesh(spec.mesh, 'meta_evaluate')
  if mesh.shape['data'] > 1:
    raise InputError('meta_evaluate.mesh.data must be 1: tasks are spread over population alone')
  name = label(config.rule, spec.baselines)
  names = [name, *(setting for row in baselines for setting in row.names)]
  if double := next((x for x in names if names.count(x) > 1), None):
    raise InputError(f'meta_evaluate.baselines: two rows are called {double!r}; rename one')
  _check_paper(spec, names)
  learned = {name: config.rule} | {row: block.rule for row, block in spec.baselines.items()}
  leaks = seen_classes.find(config, data, places, learned)
  if leaks and not spec.allow_seen_classes:
    raise InputError(f'{leaks[0]}; meta_evaluate.allow_seen_classes=True evaluates all the same')
  return MetaEvaluate(task, rule, name, baselines, experiments, spec, mesh, seed, data.seed, leaks)


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
  host = Host(data.sources[where.source], data.feed) if data.feed.chunk_steps else None
  return Experiment(name, where.source, start, tasks, store, host)


def run(
  plan: MetaEvaluate,
  pretrained: Mapping[str, tuple],
  theta: Theta,
  folder: Folder,
  options: stage.Options,
) -> pd.DataFrame:
  """Evaluates all rows at all horizons; returns their records, by experiment.

  Args:
    plan: the stage.
    pretrained: (params, model_state) of each start; RANDOM ones are freshly initialised.
    theta: the learned rule's theta.
    folder: the stage's folder.
    options: how often to report.
  """
  whole = meshes.replicated(plan.mesh)
  theta = arrays.put(theta, whole)
  learned = Row(plan.rule_name, [''], plan.rule, jax.tree.map(lambda x: x[None], theta), False)
  rows = [learned, *(row._replace(thetas=arrays.put(row.thetas, whole)) for row in plan.baselines)]
  starts = arrays.put(dict(pretrained), whole)
  num_tasks, longest = plan.spec.num_tasks, max(plan.spec.num_steps)
  draws = [_draw(e, num_tasks, longest) for e in plan.experiments]
  fed = any(e.host for e in plan.experiments)
  measure = (_fed if fed else _resident)(plan, rows, starts, draws)
  places = range(len(plan.experiments)), range(len(rows))
  items = list(itertools.product(*places, plan.spec.num_steps))

  def step(table: Table, numbered: tuple) -> tuple[Table, Metrics]:
    number, (e, r, num_steps) = numbered
    metrics = measure(e, r, num_steps)
    means = {name: jnp.nanmean(metrics[name]) for name in MEASURES}
    return _enter(table, np.int32(number), metrics), means | {'num_steps': num_steps}

  table = stage.run(
    step,
    _empty_table(len(items), num_tasks, max(len(row.settings) for row in rows), whole),
    feed=lambda number: (number, items[number]),
    stop=len(items),
    check=lambda done, metrics: None,
    log_every=1,
    unit='row',
    folder=folder,
    options=options,
  )
  folder.write_arrays(TRACE, _trace(plan, starts, theta))
  measured = arrays.get(table)
  return pd.concat(
    [
      _records(plan, plan.experiments[e], rows[r], num_steps, number, measured)
      for number, (e, r, num_steps) in enumerate(items)
    ],
    ignore_index=True,
  )


def _resident(plan: MetaEvaluate, rows: Sequence[Row], starts: Mapping, draws: Sequence) -> Any:
  """(experiment, row, K) -> metrics [tasks, settings], for images on the device."""
  programs = [_program(plan, row) for row in rows]
  whole = meshes.replicated(plan.mesh)
  start = _starter(plan)
  episodes = [
    start(starts.get(e.start), arrays.put(draw, whole))
    for e, draw in zip(plan.experiments, draws, strict=True)
  ]
  stores = [arrays.put(e.stores, whole) for e in plan.experiments]

  def measure(e: int, r: int, num_steps: int) -> Metrics:
    return programs[r](rows[r].thetas, TaskBatch(episodes[e], stores[e], np.int32(num_steps)))

  return measure


def lower(plan: MetaEvaluate, row: Row, pretrained: Mapping[str, tuple]) -> jax.stages.Lowered:
  """A row of the first experiment, from shapes alone; `pretrained` as in `run`, or its shapes."""
  whole, first = meshes.replicated(plan.mesh), plan.experiments[0]
  draw = _draw(first, plan.spec.num_tasks, max(plan.spec.num_steps))
  episodes = jax.eval_shape(_starter(plan), pretrained.get(first.start), draw)
  tasks = meshes.shaped(TaskBatch(episodes, first.stores, np.int32(0)), whole)
  return _program(plan, row).lower(meshes.shaped(row.thetas, whole), tasks)


def _program(plan: MetaEvaluate, row: Row) -> Any:
  map_fn = meshes.gathered_map(plan.mesh, on_device(plan.spec.mapping))
  map_settings = on_device(plan.spec.setting_mapping)
  return jax.jit(_measure(plan.task, row.rule, map_fn, map_settings))


def _fed(plan: MetaEvaluate, rows: Sequence[Row], starts: Mapping, draws: Sequence) -> Any:
  """Like `_resident`, for images that the host feeds, a few tasks at a time."""
  mapping = on_device(plan.spec.mapping)
  runners = [FedEpisodes(plan.task, row.rule, plan.mesh, mapping) for row in rows]
  start = jax.jit(partial(start_with_keys, plan.task))
  num_tasks = plan.spec.num_tasks
  keys = jax.random.split(jax.random.key(plan.seed), (2, num_tasks))
  keys = arrays.put(keys, meshes.replicated(plan.mesh))

  def measure(e: int, r: int, num_steps: int) -> Metrics:
    experiment, parts = plan.experiments[e], []
    at_once = experiment.host.feed.tasks_at_once
    for low in range(0, num_tasks, at_once):
      some = slice(low, low + at_once)
      drawn = jax.tree.map(lambda x, some=some: x[some], draws[e])
      begun = experiment.host.start(drawn, plan.mesh)
      episodes = start(keys[:, some], starts.get(experiment.start), begun)
      chunks = experiment.host.chunks(drawn['train'], num_steps, plan.mesh)
      parts.append(runners[r].run(rows[r].thetas, episodes, chunks, num_steps))
    return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1).T, *parts)

  return measure


def _starter(plan: MetaEvaluate) -> Any:
  """(pretrained, draw) -> episodes: the same ones for every row and horizon."""
  return jax.jit(
    lambda params, draw: start_episodes(plan.task, jax.random.key(plan.seed), params, draw)
  )


def _empty_table(items: int, tasks: int, settings: int, place: NamedSharding) -> Table:
  """Each task's measurements, NaN until known: name -> [items, tasks, settings]."""
  empty = np.full((items, tasks, settings), np.nan, np.float32)
  return {name: arrays.put(empty, place) for name in MEASURES}


@partial(jax.jit, donate_argnums=0)
def _enter(table: Table, number: jax.Array, metrics: Metrics) -> Table:
  return {
    name: jax.lax.dynamic_update_slice(column, metrics[name][None], (number, 0, 0))
    for name, column in table.items()
  }


def _check(spec: blocks.MetaEvaluate) -> None:
  """Checks the settings that all rows and experiments share."""
  horizons = spec.num_steps
  if not horizons or len(set(horizons)) < len(horizons):
    raise InputError(
      f'meta_evaluate.num_steps must be different whole numbers from 1, not {horizons}'
    )
  on_device(spec.mapping)
  on_device(spec.setting_mapping)
  for key in ('experiments', 'baselines'):
    if not getattr(spec, key):
      raise InputError(f'meta_evaluate.{key} must name at least one')
    blocks.check_names(getattr(spec, key), f'one of meta_evaluate.{key}')


def _check_paper(spec: blocks.MetaEvaluate, names: Sequence[str]) -> None:
  for experiment, rows in spec.paper.items():
    choose(experiment, spec.experiments, 'experiment of meta_evaluate.paper')
    for optimizer, accuracies in rows.items():
      choose(optimizer, names, f'optimizer of meta_evaluate.paper.{experiment}')
      if len(accuracies) != len(spec.num_steps):
        raise InputError(
          f'meta_evaluate.paper.{experiment}.{optimizer} must have an accuracy for each of the '
          f'{len(spec.num_steps)} num_steps, not {len(accuracies)}'
        )


def label(rule: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
  """The name of the learned row: the rule's name, or that of its file.

  Args:
    rule: the config's `rule` block.
    taken: baselines by name.

  Raises:
    InputError: a baseline has the same name.
  """
  name = rule['name']
  if name == 'artifact':
    stem = pathlib.Path(rule['path']).stem
    name = name if stem in taken else stem
  if name in taken:
    raise InputError(
      f'meta_evaluate.baselines.{name} has the name of the learned optimizer; rename it'
    )
  return name


def _baseline(name: str, block: blocks.Baseline, params: PyTree, seed: int) -> Row:
  where, rates = f'meta_evaluate.baselines.{name}', block.learning_rates
  rule = call(_rule, {'rule': block.rule}, where)
  by_hand = block.rule.get('name') == 'hand_designed'
  if not rates:
    theta = jax.jit(lambda key: rule.init(key, params))(jax.random.key(seed))
    return Row(name, [''], rule, jax.tree.map(lambda x: x[None], theta), by_hand)
  if not by_hand:
    raise InputError(f'{where}.learning_rates are for the rule hand_designed alone')
  if 'learning_rate' in block.rule:
    raise InputError(f'{where} has learning_rates, so its rule has no learning_rate')
  thetas = {'learning_rate': np.asarray(rates, np.float32)}
  return Row(name, [f'{rate:g}' for rate in rates], rule, thetas, True)


def _rule(rule: Mapping[str, Any]) -> LearnedRule:
  return build_from(RULES, rule, 'rule')


def _draw(experiment: Experiment, num_tasks: int, num_steps: int) -> Any:
  """The first draw of an experiment: the same tasks for every row and horizon."""
  tasks = experiment.tasks.sample(0, num_tasks, num_steps)
  return {part: tasks[part] for part in ('train', 'evaluation')}


def _measure(task: Task, rule: LearnedRule, map_fn: MapFn, map_settings: MapFn) -> Any:
  """(thetas, tasks) -> metrics [tasks, settings]: a map over tasks of a map over settings."""

  def one(episode: Episode, shared: tuple) -> Metrics:
    thetas, data, num_steps = shared
    tasks = TaskBatch(episode, data, num_steps)
    return map_settings(lambda theta, _: run_episode(rule, task, theta, episode, tasks), thetas, ())

  def measure(thetas: Theta, tasks: TaskBatch) -> Metrics:
    return map_fn(one, tasks.episodes, (thetas, tasks.data, tasks.num_steps))

  return measure


def _records(
  plan: MetaEvaluate, experiment: Experiment, row: Row, num_steps: int, number: int, table: Table
) -> pd.DataFrame:
  return records.of_tasks(
    {measure: table[measure][number, :, : len(row.settings)] for measure in MEASURES},
    row.settings,
    experiment=experiment.name,
    source=experiment.source,
    optimizer=row.family,
    hand_designed=row.hand_designed,
    seed=plan.run_seed,
    K=num_steps,
  )


def _trace(plan: MetaEvaluate, starts: Mapping[str, tuple], theta: Theta) -> dict[str, np.ndarray]:
  """Records the learned rule's diagnostics at each step, on some tasks of the first experiment.

  Returns:
    The rule's diagnostics, each [tasks, K, ...], and 'layers', the layers' names.
  """
  num_steps = plan.spec.trace_steps
  first = plan.experiments[0]
  draw = _draw(first, plan.spec.trace_tasks, num_steps)
  if first.host:
    draw['train'] = fetch(on_demand(first.host.splits['train']), draw['train'])
  whole = meshes.replicated(plan.mesh)
  episodes = _starter(plan)(starts.get(first.start), arrays.put(draw, whole))
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

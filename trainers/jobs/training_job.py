"""The other main job: train one network, or one function's argument, with one optimizer."""

import os
import pathlib
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from datasets import batch_sources, digests
from l2o.errors import InputError
from l2o.models import MODELS
from l2o.registry import build as build_from
from l2o.rules import RULES
from l2o.tasks import TASKS
from l2o.tasks.parts import in_parts
from l2o.tasks.regression import predict
from l2o.types import Batch, Params, PyTree, Start
from reports import records, results
from trainers.checks import blocks, trial
from trainers.harness import stage, weights, writers
from trainers.harness.folder import CONFIG, METRICS, PICTURE, RECORDS, Folder
from trainers.jobs import shown
from trainers.processes import agreement, store
from trainers.resources import given_weights, meshes, run_data, saved_model, seen_classes
from trainers.stages import reinit, training

HERE = Folder(pathlib.Path())
POINTS = 1 << 20  # of a picture, computed at a time


class Job(NamedTuple):
  """A training job, how often it reports, and what is needed for its results."""

  plan: training.Train
  options: stage.Options
  batch_source: batch_sources.BatchSource
  model: nn.Module | None
  known: Mapping[str, Any]  # columns that are constant in its records
  abouts: weights.Abouts  # the weight file that its network comes from, if any


def build(config: Mapping[str, Any], folder: Folder = HERE) -> Job:
  """Builds the job; computes next to nothing and writes nothing.

  Args:
    config: a frozen config with a block `train`.
    folder: the run's folder; `start` is relative to it.

  Raises:
    InputError: the config asks for something impossible.
  """
  typed = blocks.job(config)
  if typed.first:
    raise InputError(
      'first is a job that runs before the rows of a sweep, but sweep is empty; add rows, or leave '
      'out first'
    )
  spec = typed.train
  seed = run_data.stream_seed(typed.seed, 'train')
  batch_source = batch_sources.load(typed.batch_source, seed, typed.feed)
  _compare(batch_source)
  model = _model(typed.model, batch_source)
  images = batch_source.example.get('image')
  offered = {} if images is None else {'image_shape': images.shape[1:]}
  start, abouts = _start(typed, folder, model, _image_shape(batch_source))
  prepared = given_weights.prepared(typed.task, abouts)
  task = build_from(TASKS, prepared, 'task', model=model, example=batch_source.example, **offered)
  rule = build_from(RULES, typed.rule, 'rule')
  sizes = [len(x) for x in batch_source.example.values()][:1]
  plan = training.Train(
    name='train',
    task=task,
    rule=rule,
    theta=None,
    sample=batch_source.drawn or batch_source.sample,
    fed=batch_source.fed,
    fresh=(lambda number: _fresh(batch_source, spec, number)) if spec.comparisons else None,
    store={},
    evaluation=batch_source.evaluation,
    num_steps=spec.num_steps,
    log_every=spec.log_every,
    eval_every=spec.eval_every,
    mesh=meshes.build_mesh(spec.mesh, 'train', sizes),
    placement=spec.placement,
    policy=build_from(reinit.POLICIES, spec.nonfinite, 'train.nonfinite'),
    seed=seed,
    start=start,
    remedy='change rule or train.nonfinite',
  )
  parts = f'model {dict(typed.model)}, task {dict(typed.task)}'
  with trial.said_of(f'{parts} and batch_source do not fit together'):
    training.check_shapes(plan)
  known = {
    'optimizer': typed.rule['name'],
    'hand_designed': typed.rule['name'] == 'hand_designed',
    'seed': typed.seed,
  }
  abouts = {key: given_weights.applied(about, prepared) for key, about in abouts.items()}
  options = stage.options(typed, run_data.skipped_records([batch_source]))
  return Job(plan, options, batch_source, model, known, abouts)


def _compare(batch_source: batch_sources.BatchSource) -> None:
  """Raises InputError if the processes of the run have different data."""
  if store.count() > 1:
    parts = {'example': batch_source.example, 'evaluation': batch_source.evaluation}
    found = {f'{name} of batch_source': digests.of_arrays(part) for name, part in parts.items()}
    agreement.same(found, 'their data')


def _model(spec: Mapping[str, Any], batch_source: batch_sources.BatchSource) -> nn.Module | None:
  if not spec:
    if batch_source.grid:
      raise InputError('a batch source that is a picture or a volume needs a model')
    return None
  if not batch_source.num_classes:
    return build_from(MODELS, spec, 'model')
  model = build_from(MODELS, spec, 'model', num_classes=batch_source.num_classes)
  found = getattr(model, 'num_classes', None)
  if found is None:
    raise InputError(f'model {spec["name"]} does not classify; use one with num_classes')
  if found != batch_source.num_classes:
    raise InputError(
      f'model.num_classes must be {batch_source.num_classes}, the number of classes of '
      f'batch_source, not {found}'
    )
  return model


def _image_shape(batch_source: batch_sources.BatchSource) -> tuple[int, ...] | None:
  """(H, W, C) of a batch's images or frames; None if it has neither."""
  example = batch_source.example
  images = example.get('image', example.get('frames'))
  return None if images is None else images.shape[-3:]


def _start(
  config: blocks.JobConfig, folder: Folder, model: nn.Module | None, image_shape: Any
) -> tuple[Start | None, weights.Abouts]:
  """The network to start from, and the weight file that it comes from, if any."""
  if not config.start:
    return None, {}
  if weights.is_file(config.start):
    found = given_weights.load(weights.named(config), model, config.task, image_shape)['start']
    return found.start, {'start': found.about}
  return _ended(config, folder)


def _ended(config: blocks.JobConfig, folder: Folder) -> tuple[Start, weights.Abouts]:
  """The same as `_start`, from the workdir of a finished job."""
  # normpath: the path has '..' after a folder that may not exist yet
  where = Folder(pathlib.Path(os.path.normpath(folder / config.start)))
  start = saved_model.load(where)
  held = where.read_json(CONFIG, 'run its job again')
  try:
    before = blocks.job(held)
  except InputError as error:
    raise InputError(f'start: {where / CONFIG}: {error}; run its job again') from error
  old, new = before.batch_source, config.batch_source
  # As lists: classes are assigned in the order of the parts.
  splits = [(c.seed, [*c.batch_source.get('split', {}).items()]) for c in (before, config)]
  sources = [seen_classes.identity(s) for s in (old.get('source'), new.get('source')) if s]
  if len(sources) == 2 and sources[0] == sources[1] and splits[0] != splits[1]:
    raise InputError(
      f'start: {where} has seed and class split {splits[0]}, this job {splits[1]}, so that classes '
      f'of the one may be in the other; make them equal'
    )
  return start, weights.held(where, 'run its job again')


def run(job: Job, folder: Folder) -> None:
  """Trains, and writes results.json: the last and best evaluations, the test and the restarts.

  Also writes the records, the best model and, if the data are a picture, its reconstruction.
  """
  shown.config(folder)
  agreement.decided(lambda: weights.keep(folder, job.abouts))
  where = folder.sub('train')
  state, evaluation = training.run(job.plan, where, job.options)
  inner, step = training.best(where, state)
  params, model_state = training.trained(job.plan, inner)
  saved_model.save(folder, params, model_state)
  if job.batch_source.grid:
    _draw(job, params, model_state, folder)
  final = _numbers(evaluation.measure(state.inner))
  found = {
    'final': {'step': job.plan.num_steps, **{f'eval_{name}': x for name, x in final.items()}},
    'best': {'step': step, **_numbers(evaluation.measure(inner))} if step else None,
    'test': _test(job, params, model_state),
    'restarts': int(state.kept.restarts) if state.kept else 0,
    **job.options.of_data,
  }
  print(f'[train] evaluation after {job.plan.num_steps} steps: loss {final["loss"]}')
  agreement.decided(lambda: _publish(job, found, folder))


def _publish(job: Job, found: Mapping[str, Any], folder: Folder) -> None:
  logged = results.read_lines(folder / 'train' / METRICS)
  folder.write(RECORDS, records.pack(records.of_job(logged, found, **job.known)))
  shown.ended(folder, found)
  folder.finish(found)


def _numbers(measured: Mapping[str, Any]) -> dict[str, float | None]:
  return {name: writers.number(value) for name, value in measured.items()}


def _test(job: Job, params: Params, model_state: PyTree) -> dict[str, float | None] | None:
  """The best model's metrics on the held-out test data."""
  if job.batch_source.test is None:
    return None
  measured = jax.device_get(
    jax.jit(job.plan.task.evaluate)(params, model_state, job.batch_source.test)
  )
  return _numbers(measured)


def lower_test(job: Job, batch: PyTree) -> jax.stages.Lowered:
  """The test on a batch or on its shapes, lowered from shapes; it runs on one device."""
  alone = meshes.replicated(meshes.first_of(job.plan.mesh))
  shapes = meshes.shaped((*training.trained_shapes(job.plan), batch), alone)
  return jax.jit(job.plan.task.evaluate).lower(*shapes)


def _draw(job: Job, params: Params, model_state: PyTree, folder: Folder) -> None:
  batch = job.batch_source.evaluation

  def drawn(params: Params, model_state: PyTree, batch: Batch) -> jax.Array:
    return in_parts(partial(predict, job.model, params, model_state), batch, POINTS)

  output = jax.jit(drawn)(params, model_state, batch)
  pictures = {'target': batch['target'], 'output': np.asarray(output)}
  shaped = {name: x.reshape(*job.batch_source.grid, -1) for name, x in pictures.items()}
  folder.write_arrays(PICTURE, shaped)


def _fresh(
  batch_source: batch_sources.BatchSource, spec: blocks.Train, number: int
) -> dict[str, np.ndarray]:
  """The next `train.comparisons` batches after this step's batch, concatenated."""
  batches = [batch_source.sample(number + 1 + i) for i in range(spec.comparisons)]
  return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

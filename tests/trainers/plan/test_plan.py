"""What a run would take: the sizes that it has, operations counted by hand, and refusals."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from l2o.errors import InputError
from l2o.estimators.nes import nes
from l2o.models.resnet import ResNet
from l2o.tasks.classification import classification
from tests.tiny_run import SGD, tiny, tiny_job
from trainers import run
from trainers.jobs import pipeline, training_job
from trainers.plan import programs, report, topology
from trainers.plan.analysis import analyse, size, size_of
from trainers.resources import meshes
from trainers.stages import meta_training, training


def held(tree):
  """The bytes of real arrays."""
  leaves = jax.tree.leaves(tree)
  return sum(jax.random.key_data(x).nbytes if is_key(x) else x.nbytes for x in leaves)


def is_key(x):
  return jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)


def test_states_have_the_sizes_that_the_run_has():
  plan = pipeline.build(tiny())
  pretrain, generation, *rows = programs.of_pipeline(plan)
  state = training.prepare(plan.pretrain['main']).state
  assert size(pretrain.saved) == held(state)
  assert size(pretrain.shapes['parameters']) == held(state.inner.params)
  assert size(pretrain.shapes['optimizer state']) == held(state.inner.opt_state)
  state = meta_training.init(plan.meta_train)
  assert size(generation.saved) == held(state)
  assert size(generation.shapes['theta']) == held(state.theta)
  assert [row.name.split(',')[0] for row in rows] == ['l3rs', 'sgd_constant']


def test_calls_and_examples_are_the_configs():
  config = tiny(rule=SGD, **{'meta_train.min_steps': 2, 'meta_train.max_steps': 6})
  pretrain, generation, learned, grid = programs.of_pipeline(pipeline.build(config))
  assert (pretrain.calls, pretrain.examples) == (6, 128)
  # Candidates, tasks, mean steps, examples of a batch.
  assert (generation.calls, generation.examples) == (3, 4 * 4 * 4 * 32)
  assert learned.calls == grid.calls == 2  # horizons of one experiment
  assert (learned.examples, grid.examples) == (3 * 3.5 * 32, 3 * 2 * 3.5 * 32)


def test_images_that_the_host_feeds_are_planned_by_the_chunk():
  """Chunks of two steps: K of 2 to 6 takes 1, 2, 2, 3 and 3; horizons of 2 and 5 take 1 and 3."""
  config = tiny(
    rule=SGD,
    **{'feed.chunk_steps': 2, 'meta_train.min_steps': 2, 'meta_train.max_steps': 6},
    **{'feed.tasks_at_once': 3, 'meta_evaluate.tuning_tasks': 5},
  )
  plan = pipeline.build(config)
  _, generation, learned, tuning, grid = programs.of_pipeline(plan)
  assert generation.calls == round(3 * 2.2)
  assert generation.loop.times == pytest.approx(4 * 4 * 4 / 2.2)  # candidates, tasks, mean steps
  assert generation.examples == np.ceil(32 * 4 * 4 / 2.2), 'all candidates have the same images'
  # One, and for tuning two, groups of three tasks; two settings are tried and one is reported.
  assert (learned.calls, tuning.calls, grid.calls) == (4, 2 * 4, 4)
  assert [p.loop.times for p in (learned, tuning, grid)] == [5.25, 2 * 5.25, 5.25]
  state = meta_training.init(plan.meta_train)
  assert size(generation.saved) == held(state)
  found = analyse(generation.lowered.compile())
  assert not found.collectives
  assert not analyse(learned.lowered.compile()).collectives  # three tasks on two devices
  chunk = 2 * 4 * 32 * (28 * 28 + 4)  # images and labels
  assert found.arguments > chunk


@pytest.mark.large
def test_blank_images_plan_a_run_on_data_that_are_not_here():
  config = tiny(rule=SGD)
  sizes = {'num_classes': 62, 'train': 300_000, 'validation': 10_000, 'size': 28, 'channels': 1}
  config['sources'] = {'glyphs': {'name': 'blank', **sizes}}
  real, large = ([*programs.of_pipeline(pipeline.build(c))][1] for c in (tiny(rule=SGD), config))
  assert large.saved == real.saved
  grown = analyse(large.lowered.compile()).arguments - analyse(real.lowered.compile()).arguments
  assert grown == pytest.approx((300_000 + 10_000) * 28 * 28, rel=0.05)  # images lie on the device


def test_a_population_left_out_is_the_estimators_own():
  config = tiny(rule=SGD, **{'meta_train.num_generations': 1})
  del config['estimator']['population']
  _, generation, *_ = programs.of_pipeline(pipeline.build(config))
  spec = config['meta_train']
  steps = (spec['min_steps'] + spec['max_steps']) / 2
  assert generation.loop.times == nes().population * spec['meta_batch'] * steps


def taps(size, kernel, stride, margin):
  """How often a kernel's entries meet a pixel along one side; margins are no pixels."""
  starts = range(-margin, size + 2 * margin - kernel - margin + 1, stride)
  return sum(0 <= start + entry < size for start in starts for entry in range(kernel))


def forward_operations(model, image_shape):
  """Multiplications and additions of each layer on one image, in the order of the layers."""
  counted = []

  def count(layer, args, kwargs, context):
    out = layer(*args, **kwargs)
    module, shape = context.module, args[0].shape
    if isinstance(module, nn.Dense):
      counted.append(2 * shape[-1] * module.features)
    elif isinstance(module, nn.Conv):
      side, stride = module.kernel_size[0], module.strides[0]
      met = taps(shape[1], side, stride, side // 2)
      counted.append(2 * met**2 * shape[-1] * module.features)
    return out

  images = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
  with nn.intercept_methods(count):
    jax.eval_shape(lambda k, x: model.init(k, x, train=False), jax.random.key(0), images)
  return counted


@pytest.mark.parametrize(
  ('features', 'blocks'),
  [
    ((64, 128), (1, 2)),
    pytest.param((64, 128, 256, 512), (3, 4, 6, 3), marks=pytest.mark.slow),
  ],
  ids=['short', 'resnet_34'],
)
def test_the_operations_of_a_resnet_are_those_counted_by_hand(features, blocks):
  """A step takes three forward passes' worth, less the gradient for the images."""
  shape, batch = (96, 96, 3), 8  # large enough that convolutions are all that counts
  stem = {'stem': 7, 'stem_stride': 2, 'stem_pool': True}
  model = ResNet(10, features, blocks, padding='torch', **stem)
  each = forward_operations(model, shape)
  expected = batch * (3 * sum(each) - each[0])
  sample = {'image': np.zeros((batch, *shape), np.uint8), 'label': np.zeros(batch, np.int32)}
  job = training_job.build(tiny_job())
  plan = job.plan._replace(
    task=classification(model, shape), sample=lambda number: sample, evaluation=None, start=None
  )
  operations = analyse(training.lower(plan).compile()).operations
  assert operations == pytest.approx(expected, rel=0.05)


def test_what_is_compiled_says_what_it_needs(capsys, monkeypatch):
  """On one device; the report's numbers are the compiler's."""
  mesh = {'population': 1, 'data': 1}
  config = tiny(rule=SGD, cpu_devices=1, **{'meta_train.mesh': mesh})
  plan = pipeline.build(config)
  _, generation, *_ = programs.of_pipeline(plan)
  lines, operations = report.describe(generation, 10**9, 'cpu')
  found = analyse(generation.lowered.compile())
  arguments = (generation.saved, training.trained_shapes(plan.pretrain['main']))
  assert found.arguments > size(arguments)
  assert found.outputs >= size(generation.saved)
  assert 'between devices: nothing' in '\n'.join(lines)
  body = analyse(generation.loop.lowered.compile()).operations
  assert operations == body * generation.loop.times > found.operations
  lines, _ = report.describe(generation, 1000, 'cpu')
  assert 'which it does not have: spread batches (mesh.data)' in '\n'.join(lines)


def test_sizes_of_shapes_as_xla_writes_them():
  assert size_of('(f32[8], bf16[8,784], s32[], u8[3], pred[5])') == 32 + 2 * 8 * 784 + 4 + 3 + 5


@pytest.mark.parametrize(
  ('changes', 'topology', 'says'),
  [
    ({'sweep': [{'table': 'a', 'diff': {}}]}, '', '--plan is for one run of a sweep'),
    ({}, 'v5e:3x5x7', 'not a topology that libtpu knows|needs libtpu: pip install'),
    ({'estimator.population': 3}, '', 'population must be even'),
  ],
)
def test_what_cannot_be_planned_is_one_sentence(changes, topology, says):
  with pytest.raises(InputError, match=says):
    run.plan(tiny(**changes), topology)


def test_a_run_of_a_sweep_is_planned_by_number_or_name(capsys):
  rows = [
    {'table': name, 'diff': {'train.num_steps': steps}} for name, steps in (('a', 2), ('b', 3))
  ]
  config = tiny_job(sweep=rows, sweep_seeds=(4,))
  for which, steps in (('1', 2), ('2', 3), ('b/seed_4', 3)):
    run.plan(config, sweep_row=which)
    assert f'a step, {steps} times' in capsys.readouterr().out
  for wrong in ('3', 'b', 'list'):
    with pytest.raises(InputError, match=r'its number or name|from 1 to 2 or a name'):
      run.plan(config, sweep_row=wrong)


@pytest.mark.parametrize(('named', 'used'), [('UNKNOWN', 'O1'), ('O3', 'O3')])
def test_a_pod_is_compiled_for_quickly_unless_a_level_is_named(named, used, monkeypatch):
  levels = []
  monkeypatch.setattr(topology, 'devices', lambda name: jax.devices())
  monkeypatch.setattr(report, 'make', lambda *_: levels.append(jax.config.jax_optimization_level))
  before = jax.config.jax_optimization_level
  try:
    jax.config.update('jax_optimization_level', named)
    run.plan(tiny(), 'v5e:2x2')
    run.plan(tiny())
    assert levels == [used, named]
  finally:
    jax.config.update('jax_optimization_level', before)


def test_a_mesh_may_be_of_devices_that_are_not_here():
  class Chip:
    platform, device_kind = 'tpu', 'TPU v5 lite'

    def __init__(self, number):
      self.id, self.process_index = number, number // 4

  with meshes.assumed([Chip(number) for number in range(16)]):
    assert meshes.make_mesh(population=-1).shape['population'] == 16
    assert meshes.make_mesh(data=4).shape['copy'] == 4
    assert meshes.make_mesh(data=2).devices.size == 16, 'libtpu compiles for all of a slice'
    assert meshes.make_mesh(data=3).devices.size == 12
    with pytest.raises(InputError, match='needs 17 devices, but there are 16'):
      meshes.make_mesh(population=17)
  assert meshes.make_mesh(population=-1).shape['population'] == jax.device_count()


def test_copies_of_a_small_mesh_are_devices_that_are_busy(capsys):
  """A step on one of two devices, which the other repeats, counts twice."""
  config = tiny_job(cpu_devices=2)
  (step, *_) = programs.of_job(training_job.build(config))
  alone = jax.sharding.Mesh(np.array(jax.devices()[:2]).reshape(2, 1, 1, 1), step.mesh.axis_names)
  _, operations = report.describe(step, 10**9, 'cpu')
  report.make([step._replace(mesh=alone)], jax.devices()[0])
  said = f'[plan] in all: {report._count(operations * step.calls * 2)} operations'
  assert said in capsys.readouterr().out

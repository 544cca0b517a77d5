"""Weights from files in the place of training: what runs from them, and what is refused."""

import contextlib
import hashlib
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import l2o
from configs import common
from l2o.errors import InputError
from l2o.inner.rollout import run_episode, start_episodes
from l2o.models.cifar_resnet import CifarResNet
from l2o.models.efficientnet_lite import EfficientNetLite0
from l2o.models.pretrained import ARCHITECTURES
from l2o.models.pretrained.weights import _spellings, load_weights
from l2o.models.resnet import ResNet
from l2o.models.vit import ViT
from l2o.models.xception import Xception
from l2o.tasks.classification import classification
from l2o.types import TaskBatch
from reports import records
from tests.l2o.models import torch_networks as torch
from tests.tiny_run import execute, tiny
from trainers.harness import weights, workdir
from trainers.harness.folder import RECORDS, WEIGHTS, Folder
from trainers.jobs import pipeline, sweep, training_job
from trainers.processes import agreement, store
from trainers.resources import given_weights, saved_model
from trainers.stages import training

VIT = {'width': 12, 'depth': 1, 'heads': 3, 'patch': 14}
HALVES = {'mean': (0.5,), 'std': (0.5,), 'interpolation': 'bicubic'}  # of timm's ViTs
RESNET = {'mean': (0.4,), 'std': (0.2,), 'size': 12}  # ImageNet's are for three channels
SGD = {'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': 0.1}
HEAD = {**SGD, 'trainable': 'head'}
DIGITS = {
  'name': 'images', 'source': {'name': 'digits'}, 'split': {'old': 6, 'new': 4}, 'classes': 'new',
  'batch_size': 8, 'num_evaluated': 20,
}  # fmt: skip


def vit_tensors(seed=0):
  """A ViT of timm's for grey images."""
  tensors = torch.drawn(torch.timm_vit(12, 1, 14, 4, 7), seed)
  tensors['patch_embed.proj.weight'] = tensors['patch_embed.proj.weight'][:, :1].copy()
  return tensors


def resnet_tensors():
  """ResNet-8 of CIFAR for grey images."""
  shapes = torch.conv('conv1', 16, 1, 3) | torch.batch_norm('bn1', 16)
  for stage, (into, out) in enumerate([(16, 16), (16, 32), (32, 64)], 1):
    for number, inputs in enumerate((into, out), 1):
      at = f'layer{stage}.0.'
      shapes |= torch.conv(f'{at}conv{number}', out, inputs, 3)
      shapes |= torch.batch_norm(f'{at}bn{number}', out)
  return torch.drawn(shapes | torch.linear('linear', 10, 64))


@pytest.fixture(scope='module')
def here(tmp_path_factory):
  """A folder with two files, where the runs of this module are started."""
  folder = tmp_path_factory.mktemp('here')
  safetensors.numpy.save_file(vit_tensors(), folder / 'vit.safetensors')
  safetensors.numpy.save_file(resnet_tensors(), folder / 'resnet.safetensors')
  with contextlib.chdir(folder):
    yield folder


def of(path):
  return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def pipeline_config(**overrides):
  """Of three starts one has weights, one is pretrained, and one is drawn."""
  config = tiny(checkpoint_every_secs=0.0, cpu_devices=1)
  config['model'], config['rule'] = {'name': 'vit', **VIT}, SGD
  config['estimator']['population'] = 2
  config['task'] = {'name': 'classification', 'preprocessing': {'size': 28}}
  other = config['pretrain']['starts']['main']
  config['pretrain']['starts'] = {'main': {'weights': 'vit.safetensors'}, 'other': other}
  place, starts = config['meta_evaluate']['experiments']['A'], ('main', 'other', 'random')
  config['meta_evaluate']['setting_mapping'] = 'sequential'
  config['meta_evaluate']['experiments'] = {
    name: {**place, 'start': start} for name, start in zip('ACE', starts, strict=True)
  }
  return common.with_diff(config, overrides)


def job_config(**overrides):
  c = common.train_base()
  c.batch_source, c.rule = DIGITS, HEAD
  c.model = {'name': 'cifar_resnet', 'depth': 8}
  c.task = {'name': 'classification', 'preprocessing': RESNET}
  c.start = 'resnet.safetensors'
  c.train.update(num_steps=2, log_every=1, eval_every=1)
  return common.with_diff(common.freeze(c), overrides)


@pytest.fixture(scope='module')
def finished(here):
  return execute(pipeline_config(), here / 'pipeline')


@pytest.fixture(scope='module')
def ended(here):
  return execute(job_config(), here / 'job')


@pytest.fixture
def half(finished, tmp_path):
  """The pipeline's folder as it was before its last generation."""
  left_out = shutil.ignore_patterns('meta_evaluate', 'results.json', 'optimizer.safetensors')
  shutil.copytree(finished, tmp_path / 'half', ignore=left_out)
  shutil.rmtree(tmp_path / 'half' / 'meta_train' / 'checkpoints' / '3')
  return tmp_path / 'half'


@pytest.fixture
def elsewhere(here, tmp_path):
  """Another directory, whose vit.safetensors has other numbers."""
  (tmp_path / 'elsewhere').mkdir()
  safetensors.numpy.save_file(vit_tensors(1), tmp_path / 'elsewhere' / 'vit.safetensors')
  with contextlib.chdir(tmp_path / 'elsewhere'):
    yield tmp_path / 'elsewhere'


def content(folder):
  return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def equal(found, wanted):
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


def losses_of(folder, experiment, setting):
  table = records.read(folder / RECORDS, '').set_index(['experiment', 'setting', 'K', 'measure'])
  return table.loc[experiment, setting, 5, 'loss'].sort_values('task')['value'].to_numpy()


def test_tasks_begin_with_the_files_numbers_and_see_its_images(finished):
  """Episodes of experiment A from the file and a task made by hand, beside what was measured."""
  plan = pipeline.build(pipeline_config())
  model = ViT(5, **VIT)
  held = load_weights('vit.safetensors', model, (28, 28, 1), jax.random.key(0))
  equal(plan.given['main'].start, (held.params, held.model_state))
  stage = plan.meta_evaluate
  experiment = stage.experiments[0]
  drawn = {x: experiment.tasks.sample(0, 3, 5)[x] for x in ('train', 'evaluation')}
  rule = l2o.rule('hand_designed', optimizer='sgd')
  task = classification(model, (28, 28, 1), preprocessing={**HALVES, 'size': 28})
  start = held.params, held.model_state

  @jax.jit
  def first(start, drawn, store, theta):
    episodes = start_episodes(task, jax.random.key(stage.seed), start, drawn)
    episode = jax.tree.map(lambda x: jnp.asarray(x)[0], episodes)
    return episode, run_episode(rule, task, theta, episode, TaskBatch(episode, store, jnp.int32(5)))

  episode, got = first(start, drawn, experiment.stores, {'learning_rate': jnp.float32(0.1)})
  equal({**episode.params, 'head': 0}, {**held.params, 'head': 0})
  np.testing.assert_allclose(got['loss'], losses_of(finished, 'A', '0.1')[0], rtol=1e-4)


def test_each_start_is_another_network_and_the_file_has_no_stage(finished):
  losses = [tuple(losses_of(finished, name, '0.1')) for name in 'ACE']
  assert len(set(losses)) == 3
  assert (finished / 'pretrain_other').exists()
  assert not (finished / 'pretrain').exists()


def test_workdir_and_card_say_which_file_it_was(finished):
  about = {
    'file': 'vit.safetensors',
    'sha256': of('vit.safetensors'),
    'preprocessing': {**HALVES, 'mean': [0.5], 'std': [0.5], 'size': 28},
  }
  assert l2o.read(finished / 'optimizer.safetensors').card['weights'] == {'main': about}
  kept = json.loads((finished / WEIGHTS).read_text())
  assert kept == {'pretrain.starts.main.weights': about}


def test_an_interrupted_run_ends_the_same(finished, half):
  execute(pipeline_config(), half)
  for name in ('results.json', RECORDS, 'meta_train/metrics.jsonl'):
    assert (half / name).read_bytes() == (finished / name).read_bytes(), name
  one, other = (l2o.read(folder / 'optimizer.safetensors') for folder in (finished, half))
  equal(one.theta, other.theta)
  assert one.card == other.card


def test_another_file_under_the_path_is_refused_before_anything_is_touched(half, elsewhere):
  before = content(half)
  says = (
    'pretrain.starts.main.weights names another file than the run in .* began with .* put '
    'vit.safetensors back, or use another --workdir'
  )
  with pytest.raises(InputError, match=says):
    execute(pipeline_config(), half)
  (elsewhere / 'vit.safetensors').unlink()
  with pytest.raises(InputError, match=r'main.weights: there is no file vit.safetensors; a'):
    execute(pipeline_config(), half)
  assert content(half) == before


def test_a_finished_run_needs_its_file_no_more(finished, elsewhere, capsys):
  execute(pipeline_config(), finished)
  (elsewhere / 'vit.safetensors').unlink()
  execute(pipeline_config(), finished)
  assert capsys.readouterr().out.count('holds this run, finished') == 2


def test_a_record_that_is_damaged_is_refused(half):
  for broken, says in (('{', 'is damaged'), ('[]', 'is no record'), ('{"a": {}}', 'a needs file')):
    (half / WEIGHTS).write_text(broken)
    with pytest.raises(InputError, match=says):
      execute(pipeline_config(), half)


def test_a_job_begins_with_the_files_numbers_and_sees_its_images(ended):
  job = training_job.build(job_config())
  model = CifarResNet(4, depth=8)
  held = load_weights('resnet.safetensors', model, (12, 12, 1), jax.random.key(0))
  inner = training.prepare(job.plan).state.inner
  equal(inner.model_state, held.model_state)
  equal({**inner.params, 'head': 0}, {**held.params, 'head': 0})
  assert np.std(held.model_state['batch_stats']['stem_norm']['mean']) > 0
  params, model_state = saved_model.load(Folder(ended))
  equal({**params, 'head': 0}, {**held.params, 'head': 0})  # the rule trains the head alone
  assert np.any(params['head']['kernel'] != inner.params['head']['kernel'])
  seen, plain = (
    jax.jit(classification(model, (28, 28, 1), preprocessing=block).evaluate)(
      params, model_state, job.batch_source.evaluation
    )
    for block in (RESNET, {'mean': (0.0,), 'std': (1.0,), 'size': 12})
  )
  best = json.loads((ended / 'results.json').read_text())['best']
  assert best['loss'] == pytest.approx(float(seen['loss']), rel=1e-4)
  assert best['loss'] != pytest.approx(float(plain['loss']), rel=1e-3)


def test_a_job_from_that_one_sees_the_same_images(ended):
  """Though its own task says nothing, and for the one after it."""
  bare = {'task': {'name': 'classification'}, 'start': str(ended)}
  first, later = training_job.build(job_config()), training_job.build(job_config(**bare))
  assert later.abouts['start'].sha256 == of('resnet.safetensors')
  start = saved_model.load(Folder(ended))
  batch = first.batch_source.evaluation
  found = [jax.jit(job.plan.task.evaluate)(*start, batch)['loss'] for job in (first, later)]
  assert found[0] == found[1]
  weights.keep(Folder(ended / 'later'), later.abouts)
  about = weights.held(Folder(ended / 'later'))['start']
  assert {**about.preprocessing, 'mean': (0.4,), 'std': (0.2,)} == {
    **RESNET, 'interpolation': 'bicubic',
  }  # fmt: skip


def test_without_a_block_the_preprocessing_is_the_files_own():
  model, bare = {'name': 'vit', **VIT}, {'name': 'classification'}
  job = training_job.build(job_config(model=model, task=bare, start='vit.safetensors'))
  assert job.abouts['start'].preprocessing == {**HALVES, 'size': 224}
  params, model_state = job.plan.start
  assert params['positions'].shape == (1, 1 + 16 * 16, 12)
  task = classification(ViT(4, **VIT), (28, 28, 1), preprocessing={**HALVES, 'size': 224})
  batch = {name: x[:4] for name, x in job.batch_source.evaluation.items()}
  wanted, found = (jax.jit(t.evaluate)(params, model_state, batch) for t in (task, job.plan.task))
  equal(found, wanted)


def test_all_publishers_of_an_architecture_mean_images_of_one_size():
  models = CifarResNet(2), EfficientNetLite0(2), ResNet(2), ViT(2), Xception(2)
  assert {type(model).__name__ for model in models} == set(ARCHITECTURES)
  for model in models:
    assert len({s.preprocessing.size for s in _spellings(model, (224, 224, 3))}) == 1


@pytest.mark.parametrize(
  ('start', 'says'),
  [
    ({}, 'starts.main needs source, classes, or weights in their place'),
    ({'weights': ''}, 'starts.main needs source, classes'),
    ({'classes': 'pretrain'}, 'starts.main needs source$'),
    ({'weights': 'vit.safetensors', 'source': 'glyphs', 'number': 1}, 'leave out source and numb'),
    ({'weights': 3}, 'starts.main.weights must be a string, not 3'),
    ({'weight': 'vit.safetensors'}, "has no 'weight' .did you mean 'weights'"),
    ({'weights': 'no.safetensors'}, 'main.weights: there is no file no.safetensors'),
    ({'weights': '.'}, r'main.weights: there is no file \.'),
    ({'weights': 'resnet.safetensors'}, 'main.weights: resnet.safetensors has no tensor that ViT'),
  ],
)
def test_a_start_that_is_none_is_refused(here, start, says):
  config = pipeline_config(**{'pretrain.starts.main': start})
  with pytest.raises(InputError, match=says):
    execute(config, here / 'refused')
  assert not (here / 'refused').exists()


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'start': 'no.safetensors'}, 'start: there is no file no.safetensors'),
    ({'start': 'pickle.pth'}, 'start: pickle.pth holds a pickle'),
    ({'start': 'damaged.safetensors'}, 'start: damaged.safetensors is damaged or holds no weights'),
    ({'start': 'resnet'}, 'holds no training job that has ended'),
    ({'start': 'vit.safetensors'}, 'start: vit.safetensors has no tensor that CifarResNet has'),
    ({'model.depth': 14}, r'start: resnet.safetensors does not fit CifarResNet .* it lacks layer1'),
    ({'model': {'name': 'mlp'}}, 'start: there is no architecture with known names .* CifarResNet'),
    ({'model': {}}, 'start: weights are of networks for images, which this task has not'),
    ({'batch_source': {'name': 'sines'}, 'model.num_classes': 2}, 'start: weights are of networks'),
    ({'task.name': 'regression'}, 'start: weights need a task with preprocessing, such as'),
    ({'task': {}}, "there is no task ''"),
    ({'task.preprocessing': 'own'}, "task.preprocessing must be a block of keys, not 'own'"),
    ({'task.preprocessing.size': 0}, 'task.preprocessing.size must be '),
    ({'task.preprocessing': {'sizes': 9}}, "task.preprocessing has no 'sizes'"),
    ({'task.preprocessing': {'size': 12}}, 'task.preprocessing.mean must have 1 number or one for'),
    ({'task': {'name': 'classification', 'crop': -1}}, 'task.crop must be at least 0, not -1'),
    ({'task': {'name': 'classification', 'crop': 29}}, 'task.crop must be 0 to 28, not 29'),
  ],
)
def test_a_job_that_cannot_start_is_refused(here, changes, says):
  (here / 'pickle.pth').write_bytes(b'\x80\x04.')
  (here / 'damaged.safetensors').write_bytes((here / 'vit.safetensors').read_bytes()[:-9])
  config = job_config()
  config['model']['num_classes'] = 4
  with pytest.raises(InputError, match=says):
    execute(common.with_diff(config, changes), here / 'refused')
  assert not (here / 'refused').exists()


def test_starts_that_need_different_images_are_refused_unless_the_task_says_which(here):
  tensors = torch.torchvision_vit(vit_tensors())
  safetensors.numpy.save_file(tensors, here / 'torchvision.safetensors')
  config = pipeline_config(**{'pretrain.starts.other': {'weights': 'torchvision.safetensors'}})
  with pytest.raises(InputError, match=r'main.weights and .*other.weights need different .*\.mean'):
    pipeline.build(config)
  config['task']['preprocessing'] |= {'mean': (0.5,), 'std': (0.5,), 'interpolation': 'bilinear'}
  plan = pipeline.build(config)
  assert {given.about.preprocessing['interpolation'] for given in plan.given.values()} == {
    'bilinear'
  }


def test_rows_of_a_sweep_may_start_from_weights(here):
  """From the file, from a first job that did, and from nothing; all is built, nothing is run."""
  rows = [
    common.sweep_row('file', None, {'start': 'resnet.safetensors'}),
    common.sweep_row('job', None, {'task': {'name': 'classification'}}),
    common.sweep_row('scratch', None, {'start': ''}),
  ]
  first = common.sweep_row('before', None, {'start': 'resnet.safetensors'})
  config = job_config() | {'sweep': rows, 'first': [first]}
  built, started = [], []

  def build(config, folder):
    built.append(training_job.build(config, folder))

  def runner(changed, where, default, overrides):
    started.append(changed['start'])
    final, best = {'step': 1, 'eval_loss': 2.0}, {'step': 1, 'loss': 2.0}
    known = {'optimizer': 'sgd', 'hand_designed': True, 'seed': 0}
    found = {'final': final, 'best': best, 'test': None}
    where.write(RECORDS, records.pack(records.of_job([], found, **known)))

  sweep.run(config, Folder(here / 'sweep'), runner, build, default={}, overrides={})
  assert [bool(job.abouts) for job in built] == [True, True, True, False]
  assert built[0].abouts == built[1].abouts == built[2].abouts
  assert started == ['resnet.safetensors', 'resnet.safetensors', '../../before/seed_0', '']


def test_a_sweep_refuses_another_file_before_any_row_runs(here):
  """For a seed that is not built beforehand."""
  config = job_config() | {'sweep': [common.sweep_row('one', None, {})], 'sweep_seeds': [0, 1]}
  config['start'] = str(here / 'resnet.safetensors')
  kept = Folder(here / 'swept' / 'one' / 'seed_1')
  weights.keep(kept, {'start': weights.About('resnet.safetensors', '0' * 64, {})})
  row = {**config, 'seed': 1, 'sweep': [], 'sweep_seeds': [0]}
  workdir.describe(kept, row, row, {})
  workdir.describe(Folder(here / 'swept'), config, config, {})
  with pytest.raises(InputError, match=r'start names another file than the run in .*seed_1 began'):
    sweep.run(config, Folder(here / 'swept'), None, lambda *_: None, default={}, overrides={})


def test_processes_with_other_files_are_refused(here, monkeypatch):
  there = {'start': of('vit.safetensors')}
  monkeypatch.setattr(store, 'count', lambda: 2)
  monkeypatch.setattr(agreement, '_exchange', lambda mine, how: how([mine['value'], there]))
  task, model = {'name': 'classification', 'preprocessing': RESNET}, CifarResNet(4, depth=8)
  says = f'the processes differ in their weights: start is {of("resnet.safetensors")} in process 0'
  with pytest.raises(InputError, match=says):
    given_weights.load({'start': 'resnet.safetensors'}, model, task, (28, 28, 1))
  there['start'] = of('resnet.safetensors')
  assert given_weights.load({'start': 'resnet.safetensors'}, model, task, (28, 28, 1))

"""Weights from files in the place of training: what they begin with, keep and repeat."""

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
from checkpoints import Checkpoints
from configs import common
from l2o.errors import InputError
from l2o.inner.rollout import run_episode, start_episodes
from l2o.models.cifar_resnet import CifarResNet
from l2o.models.pretrained.weights import load_weights
from l2o.models.vit import ViT
from l2o.tasks.classification import classification
from l2o.types import TaskBatch
from reports import records
from tests.given_weights import (
  HALVES,
  RESNET,
  VIT,
  job_config,
  pipeline_config,
  vit_tensors,
  write_files,
)
from tests.tiny_run import execute
from trainers.harness import weights, workdir
from trainers.harness.folder import RECORDS, WEIGHTS, Folder
from trainers.jobs import pipeline, sweep, training_job
from trainers.processes import agreement, store
from trainers.resources import given_weights, saved_model
from trainers.stages import training


@pytest.fixture(scope='module')
def here(tmp_path_factory):
  """A folder with two files, from where the runs of this module are started."""
  folder = tmp_path_factory.mktemp('here')
  write_files(folder)
  return folder


@pytest.fixture(autouse=True)
def started_here(here, monkeypatch):
  monkeypatch.chdir(here)


def of(path):
  return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope='module')
def finished(here):
  with contextlib.chdir(here):
    return execute(pipeline_config(), here / 'pipeline', drawn=False)


@pytest.fixture(scope='module')
def ended(here):
  with contextlib.chdir(here):
    return execute(job_config(), here / 'job', drawn=False)


@pytest.fixture
def half(finished, tmp_path):
  """The pipeline's folder as it was before its last generation."""
  left_out = shutil.ignore_patterns('meta_evaluate', 'results.json', 'optimizer.safetensors')
  shutil.copytree(finished, tmp_path / 'half', ignore=left_out)
  shutil.rmtree(tmp_path / 'half' / 'meta_train' / 'checkpoints' / '3')
  return tmp_path / 'half'


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
  """Another directory, whose vit.safetensors has other numbers."""
  (tmp_path / 'elsewhere').mkdir()
  safetensors.numpy.save_file(vit_tensors(2.0), tmp_path / 'elsewhere' / 'vit.safetensors')
  monkeypatch.chdir(tmp_path / 'elsewhere')
  return tmp_path / 'elsewhere'


def content(folder):
  return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def equal(found, wanted):
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


def losses_of(folder, experiment, setting):
  table = records.read(folder / RECORDS, '').set_index(['experiment', 'setting', 'K', 'measure'])
  return table.loc[experiment, setting, 5, 'loss'].sort_values('task')['value'].to_numpy()


def test_tasks_begin_with_the_files_numbers_and_see_its_images(finished):
  """Episodes from each start and a task made by hand, beside what was measured."""
  plan = pipeline.build(pipeline_config())
  model = ViT(5, **VIT)
  held = load_weights('vit.safetensors', model, (28, 28, 1), jax.random.key(0))
  equal(plan.given['main'].start, (held.params, held.model_state))
  stage = plan.meta_evaluate
  rule = l2o.rule('hand_designed', optimizer='sgd')
  task = classification(model, (28, 28, 1), preprocessing={**HALVES, 'size': 28})
  other = training.prepare(plan.pretrain['other']).state
  other = Checkpoints(finished / 'pretrain_other' / 'checkpoints').restore_or(other)[0].inner
  starts = (held.params, held.model_state), (other.params, other.model_state), None  # drawn anew

  @jax.jit
  def first(start, drawn, store, theta):
    episodes = start_episodes(task, jax.random.key(stage.seed), start, drawn)
    episode = jax.tree.map(lambda x: jnp.asarray(x)[0], episodes)
    return episode, run_episode(rule, task, theta, episode, TaskBatch(episode, store, jnp.int32(5)))

  theta = {'learning_rate': jnp.float32(0.1)}
  for experiment, start in zip(stage.experiments, starts, strict=True):
    drawn = {x: experiment.tasks.sample(0, 3, 5)[x] for x in ('train', 'evaluation')}
    episode, got = first(start, drawn, experiment.stores, theta)
    wanted = losses_of(finished, experiment.name, '0.1')[0]
    np.testing.assert_allclose(got['loss'], wanted, rtol=1e-4)
    if experiment.name == 'A':
      equal({**episode.params, 'head': 0}, {**held.params, 'head': 0})


def test_the_file_and_the_random_start_have_no_stage(finished):
  assert (finished / 'pretrain_other' / 'metrics.jsonl').exists()
  for name in ('pretrain', 'pretrain_random'):
    assert not (finished / name).exists()


def test_workdir_and_card_say_which_file_it_was(finished):
  about = {
    'file': 'vit.safetensors',
    'sha256': of('vit.safetensors'),
    'preprocessing': {**HALVES, 'mean': [0.5], 'std': [0.5], 'size': 28},
  }
  assert l2o.read(finished / 'optimizer.safetensors').card['weights'] == {'main': about}
  kept = json.loads((finished / WEIGHTS).read_text())
  assert kept == {'pretrain.starts.main.weights': about}


@pytest.mark.slow  # test_pipeline interrupts one that pretrains
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


def test_a_finished_run_no_longer_needs_its_file(finished, elsewhere, capsys):
  execute(pipeline_config(), finished)
  (elsewhere / 'vit.safetensors').unlink()
  execute(pipeline_config(), finished)
  assert capsys.readouterr().out.count('already holds this run, finished') == 2


def test_a_record_that_is_damaged_is_refused(half):
  for broken, says in (
    ('{', 'is damaged'),
    ('[]', 'is not a record'),
    ('{"a": {}}', 'a needs file'),
  ):
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
  """Though its own task has no preprocessing; its record tells the next job."""
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


def test_processes_with_other_files_are_refused(monkeypatch):
  there = {'start': of('vit.safetensors')}
  monkeypatch.setattr(store, 'count', lambda: 2)
  monkeypatch.setattr(agreement, '_exchange', lambda mine, how: how([mine['value'], there]))
  task, model = {'name': 'classification', 'preprocessing': RESNET}, CifarResNet(4, depth=8)
  says = f'the processes differ in their weights: start is {of("resnet.safetensors")} in process 0'
  with pytest.raises(InputError, match=says):
    given_weights.load({'start': 'resnet.safetensors'}, model, task, (28, 28, 1))
  there['start'] = of('resnet.safetensors')
  assert given_weights.load({'start': 'resnet.safetensors'}, model, task, (28, 28, 1))

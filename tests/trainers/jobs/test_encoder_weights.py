"""Weights that fill a part of a model: the encoder of lane keeping, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from configs import common
from l2o.errors import InputError
from l2o.models.cifar_resnet import CifarResNet
from l2o.models.lstm import LSTM
from l2o.models.pretrained.weights import load_weights
from l2o.tasks.preprocessing import Preprocessing
from tests.datasets.test_lane_keeping import frame
from tests.given_weights import resnet_tensors
from tests.tiny_run import execute
from tools.torch_weights import drawn
from trainers.harness import weights
from trainers.harness.folder import Folder
from trainers.jobs import training_job
from trainers.resources import saved_model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the file's publisher
SIZE = 8
RECURRENT = {'name': 'lstm', 'num_outputs': 1, 'features': 4}
MODEL = {
  'name': 'lane_keeping', 'recurrent': RECURRENT, 'encoder': {'name': 'cifar_resnet', 'depth': 8},
}  # fmt: skip


@pytest.fixture(scope='module')
def here(tmp_path_factory):
  """Frames of one video, and a ResNet-8 of CIFAR."""
  folder = tmp_path_factory.mktemp('here')
  (folder / 'frames').mkdir()
  for k in range(40):
    (folder / 'frames' / f'a_{k:03d}_{70 + k:03d}.jpg').write_bytes(frame(4 * k))
  tensors = resnet_tensors() | drawn({'conv1.weight': (16, 3, 3, 3)})
  safetensors.numpy.save_file(tensors, folder / 'resnet.safetensors')
  return folder


def job_config(here, **overrides):
  c = common.train_base()
  c.batch_source = {
    'name': 'lane_keeping', 'path': str(here / 'frames'), 'num_steps': 2, 'batch_size': 2,
    'unit': 10.0, 'pixels': True,
  }  # fmt: skip
  c.model, c.start = MODEL, str(here / 'resnet.safetensors')
  c.task = {'name': 'regression', 'scale': 10.0, 'preprocessing': {'size': SIZE}}
  c.rule = common.hand_designed('sgd', learning_rate=0.1, trainable='head', head='recurrent')
  c.train.update(num_steps=1, log_every=1, eval_every=1)
  return common.with_diff(common.freeze(c), overrides)


@pytest.fixture(scope='module')
def ended(here):
  return execute(job_config(here), here / 'job')


def begins_with(config):
  job = training_job.build(config)
  return job, *jax.jit(job.plan.task.init)(jax.random.key(0), job.plan.start)


def equal(found, wanted):
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


def held(here):
  path = here / 'resnet.safetensors'
  return load_weights(path, CifarResNet(0, depth=8), (SIZE, SIZE, 3), jax.random.key(0))


def test_the_file_fills_the_encoder_and_nothing_else(here):
  file = held(here)
  job, params, model_state = begins_with(job_config(here))
  equal(params['encoder'], file.params)
  equal(model_state, {'batch_stats': {'encoder': file.model_state['batch_stats']}})
  assert params.keys() == {'encoder', 'recurrent'}
  draw = jax.jit(job.plan.task.init)
  without, other = (draw(jax.random.key(seed))[0] for seed in (0, 1))
  equal(params['recurrent'], without['recurrent'])
  assert np.any(without['encoder']['stem']['kernel'] != params['encoder']['stem']['kernel'])
  kernels = [p['recurrent']['head']['kernel'] for p in (params, other)]
  assert np.any(kernels[0] != kernels[1])
  lacking = {'recurrent': params['recurrent']}  # a start that the job then refuses
  assert job.plan.task.init(jax.random.key(0), (lacking, {})) == (lacking, {})


def test_the_encoder_sees_frames_as_its_weights_expect_them(here):
  job, params, model_state = begins_with(job_config(here))
  wanted = {'mean': MEAN, 'std': STD, 'size': SIZE, 'interpolation': 'bicubic'}
  assert job.abouts['start'].preprocessing == wanted
  batch = job.batch_source.evaluation

  @jax.jit
  def loss(mean, std):
    flat = jnp.asarray(batch['frames'].reshape(-1, 66, 200, 3))
    stats = {'batch_stats': model_state['batch_stats']['encoder']}
    encoder = CifarResNet(0, depth=8)
    variables = {'params': params['encoder'], **stats}
    seen = Preprocessing(mean, std, SIZE)(flat)
    features = encoder.apply(variables, seen, train=False)
    features = features.reshape((*batch['frames'].shape[:2], -1))
    outputs = LSTM(1, 4).apply({'params': params['recurrent']}, features, train=False)
    return jnp.mean((outputs - batch['target']) ** 2)

  right, plain = loss(MEAN, STD), loss((0.0,) * 3, (1.0,) * 3)
  assert abs(right - plain) > 1e-3 * right
  found = jax.jit(job.plan.task.evaluate)(params, model_state, batch)['loss']
  np.testing.assert_allclose(found, right, rtol=1e-4)
  trained, (after, _) = jax.jit(job.plan.task.loss)(params, model_state, jax.random.key(1), batch)
  np.testing.assert_allclose(trained, right, rtol=1e-4)  # with the file's statistics in training,
  equal(after, model_state)  # which stay


def test_the_encoder_keeps_its_numbers_where_the_recurrent_part_is_trained_alone(here, ended):
  params, model_state = saved_model.load(Folder(ended))
  file = held(here)
  equal(params['encoder'], file.params)
  equal(model_state['batch_stats']['encoder'], file.model_state['batch_stats'])
  _, before, _ = begins_with(job_config(here))
  assert np.any(params['recurrent']['head']['bias'] != before['recurrent']['head']['bias'])
  assert weights.held(Folder(ended))['start'].file == 'resnet.safetensors'


def test_a_job_from_that_one_begins_with_all_of_it(here, ended):
  job, params, model_state = begins_with(job_config(here, start=str(ended)))
  equal((params, model_state), saved_model.load(Folder(ended)))
  assert tuple(job.abouts['start'].preprocessing['mean']) == MEAN


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'batch_source.pixels': False}, 'task.preprocessing needs images in uint8, .*pixels = True'),
    ({'model': {'name': 'lane_keeping', 'recurrent': RECURRENT}}, "known names .* 'LaneKeeping'"),
    ({'model': RECURRENT}, "start: there is no architecture with known names .* 'LSTM'"),
    ({'model.encoder.depth': 14}, r'start: .* does not fit CifarResNet .* it lacks layer1\.1'),
    ({'task.preprocessing.size': 0}, r'task\.preprocessing\.size must be'),
    ({'rule.head': 'decoder'}, "there is no head 'decoder' to train alone.*encoder, recurrent"),
  ],
)
def test_what_does_not_fit_is_refused(here, changes, says):
  with pytest.raises(InputError, match=says):
    execute(job_config(here, **changes), here / 'refused')
  assert not (here / 'refused').exists()

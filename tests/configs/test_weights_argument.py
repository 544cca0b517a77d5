"""`weights=FILE` of the configs for training jobs: every row starts from the file."""

import json

import numpy as np
import pytest
import safetensors.numpy

from configs import common, hub_finetune, hub_lane_keeping
from l2o.errors import InputError
from tests.datasets.test_lane_keeping import frame
from tests.given_weights import RESNET, write_files
from tools.torch_weights import drawn
from trainers.harness.folder import Folder
from trainers.jobs import sweep_plan, training_job


def rows(config, folder):
  """Name of a row -> its run with the first seed."""
  plan = sweep_plan.build(config, Folder(folder))
  assert not plan.first
  return {planned.name: planned.runs[0] for planned in plan.rows}


@pytest.fixture
def lite0(tmp_path):
  """An EfficientNet-Lite0 of random numbers, under timm's names."""
  with np.load('tests/golden/torch_logits.npz') as file:
    shapes = json.loads(str(file['timm/tf_efficientnet_lite0/shapes']))
  path = tmp_path / 'lite0.safetensors'
  safetensors.numpy.save_file(drawn(shapes), path)
  return path


@pytest.mark.slow  # test_encoder_weights has a smaller one
def test_lane_keeping_has_a_pretrained_encoder_beside_the_network_from_scratch(tmp_path, lite0):
  for k in range(120):
    (tmp_path / f'a_{k:03d}_090.jpg').write_bytes(frame(k))
  config = common.freeze(hub_lane_keeping.get_config(f'smoke,weights={lite0}'))
  config['batch_source']['path'] = str(tmp_path)
  found = rows(config, tmp_path)
  assert [run.config['start'] for run in found.values()] == [str(lite0)] * 4 + ['']
  assert {run.config['train']['num_steps'] for run in found.values()} == {2}
  job, scratch = (training_job.build(found[x].config) for x in ('recurrent 0.003', 'scratch'))
  params, _ = job.plan.start
  assert params.keys() == {'encoder'}
  assert 'head' not in params['encoder']
  assert job.abouts['start'].preprocessing['size'] == hub_lane_keeping.SIZE
  assert scratch.plan.start is None
  assert scratch.batch_source.example['frames'].dtype == np.float32


def test_fine_tuning_starts_every_row_from_the_file(tmp_path):
  config = common.freeze(hub_finetune.get_config('weights=resnet20.safetensors'))
  assert {run.config['start'] for run in rows(config, tmp_path).values()} == {
    'resnet20.safetensors'
  }
  assert config['model'] == {'name': 'cifar_resnet', 'num_classes': 50, 'depth': 20}


def test_fine_tuning_with_the_l3rs_of_another_network_builds(tmp_path):
  """On small grey images, with a network of eight layers."""
  write_files(tmp_path)
  config = common.freeze(hub_finetune.get_config(f'smoke,weights={tmp_path}/resnet.safetensors'))
  small = {
    'batch_source.source': {'name': 'digits'}, 'batch_source.split': {'finetune': 10},
    'model.depth': 8, 'model.num_classes': 10, 'task.preprocessing': RESNET,
  }  # fmt: skip
  config['task']['preprocessing'] = {}
  job = training_job.build(rows(common.with_diff(config, small), tmp_path)['l3rs'].config)
  assert job.abouts['start'].file == 'resnet.safetensors'


def test_celo_beside_weights_is_refused():
  with pytest.raises(InputError, match='celo has no effect beside weights'):
    hub_lane_keeping.get_config('celo=theta,weights=lite0.safetensors')

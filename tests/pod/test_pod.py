"""One run by several processes: it ends in the bits of one process, whatever happens on the way.

Most cases take minutes: `pytest -m slow tests/pod`.
"""

import os
import signal
import struct

import numpy as np
import pytest

from tests.pod import group

PIPELINE, JOB = 'pipeline_config.py', 'job_config.py'

SPLIT = [  # four devices share a batch
  '--config.train.mesh.data=4',
  '--config.train.mesh.model=1',
]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """config -> what one process with four devices leaves, each run once."""
  found = {}

  def run(config):
    if config not in found:
      workdir = tmp_path_factory.mktemp('whole') / 'run'
      group.run(config, workdir)
      found[config] = group.left(config, workdir)
    return found[config]

  return run


def write_images(folder, images):
  """Files of MNIST's format: twenty images of two classes, for training and evaluation alike."""
  for prefix in ('train', 't10k'):
    for kind, values in (('images-idx3', images), ('labels-idx1', np.arange(len(images)) % 2)):
      header = struct.pack(f'>4B{values.ndim}I', 0, 0, 8, values.ndim, *values.shape)
      path = folder / f'{prefix}-{kind}-ubyte'
      path.write_bytes(header + values.astype(np.uint8).tobytes())


def test_processes_with_other_images_are_refused_by_all(tmp_path, rng):
  folders, images = [tmp_path / 'one', tmp_path / 'other'], rng.integers(0, 256, (20, 8, 8))
  for folder in folders:
    folder.mkdir()
    write_images(folder, images)
    images[7, 1, 2] ^= 1
  environments = [{'L2O_IDX_DIR': str(folder)} for folder in folders]
  with group.started(f'{JOB}:idx', tmp_path / 'run', 2, [], environments) as processes:
    codes, outputs = group.ended(processes)
  assert codes == [2, 2], outputs
  for _, errors in outputs:
    assert 'error: the processes differ in their data: ' in errors.strip().splitlines()[-1]
  assert not (tmp_path / 'run').exists()


def slow(*values):
  return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
  ('config', 'processes'),
  [
    slow(PIPELINE, 2),
    slow(JOB, 4),
    slow(PIPELINE, 4),
    slow(f'{PIPELINE}:fed', 2),
    slow(f'{PIPELINE}:fed', 4),
    slow(JOB, 2),
  ],
)
def test_several_processes_end_in_the_bits_of_one(whole, tmp_path, config, processes):
  outputs = group.run(config, tmp_path / 'run', processes)
  assert group.left(config, tmp_path / 'run') == whole(config)
  assert_first_speaks_for_all(outputs)


def assert_first_speaks_for_all(outputs):
  assert '[run] done' in outputs[0][0]
  assert all(not stdout for stdout, _ in outputs[1:])


@pytest.mark.slow
def test_a_batch_split_over_four_devices_repeats_in_bits_and_agrees_with_one_process(tmp_path):
  """gloo sums four numbers in another order than one process does."""
  left = []
  for number, processes in enumerate((2, 2, 1)):
    workdir = tmp_path / str(number)
    group.run(JOB, workdir, processes, SPLIT)
    left.append(group.left(JOB, workdir))
  assert left[0] == left[1]
  names = [name for name in left[0] if name.startswith('params')]
  assert names
  for name in names:
    two, one = (np.frombuffer(found[name][2], found[name][0]) for found in (left[0], left[2]))
    np.testing.assert_allclose(two, one, atol=1e-6)


@pytest.mark.parametrize(
  ('config', 'stage', 'told', 'then'),
  [
    slow(PIPELINE, 'meta_train', [1], 2),
    slow(PIPELINE, 'meta_train', [1], 1),
    slow(PIPELINE, 'pretrain', [0], 2),
    slow(PIPELINE, 'pretrain', [0, 1], 4),
    slow(PIPELINE, 'meta_train', [0, 1], 2),
    slow(PIPELINE, 'meta_evaluate', [1], 4),
    slow(f'{PIPELINE}:fed', 'meta_train', [1], 2),
    slow(JOB, 'train', [1], 4),
    slow(JOB, 'train', [1], 1),
    slow(JOB, 'train', [1], 2),
  ],
)
def test_a_signal_to_one_ends_all_after_the_same_step(whole, tmp_path, config, stage, told, then):
  workdir = tmp_path / 'run'
  with group.started(config, workdir, 2) as processes:
    group.wait_for(processes, workdir, stage, 1)
    for number in told:
      processes[number].send_signal(signal.SIGTERM)
    codes, outputs = group.ended(processes)
  assert codes == [143, 143], outputs
  sentences = {errors.strip().splitlines()[-1] for _, errors in outputs}
  assert len(sentences) == 1
  assert f'error: {stage}: ended by SIGTERM after' in sentences.pop()
  assert_first_speaks_for_all(group.run(config, workdir, then))
  assert group.left(config, workdir) == whole(config)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('config', 'stage', 'processes', 'then'),
  [
    (PIPELINE, 'pretrain', 2, 1),
    (PIPELINE, 'meta_train', 2, 4),
    (PIPELINE, 'meta_evaluate', 4, 2),
    (f'{PIPELINE}:fed', 'meta_train', 2, 2),
    (JOB, 'train', 4, 2),
    (JOB, 'train', 2, 4),
  ],
)
def test_killed_in_all_processes_it_goes_on_to_the_same_bits(
  whole, tmp_path, config, stage, processes, then
):
  workdir = tmp_path / 'run'
  with group.started(config, workdir, processes) as running:
    group.wait_for(running, workdir, stage, 1)
    for process in running:
      os.killpg(process.pid, signal.SIGKILL)
  group.run(config, workdir, then)
  assert group.left(config, workdir) == whole(config)


@pytest.mark.slow
@pytest.mark.parametrize('lost', [0, 1])
def test_when_one_process_is_killed_the_others_end_and_the_run_goes_on(whole, tmp_path, lost):
  workdir = tmp_path / 'run'
  with group.started(PIPELINE, workdir, 2, ['--lost_secs=5']) as running:
    group.wait_for(running, workdir, 'meta_train', 1)
    os.killpg(running[lost].pid, signal.SIGKILL)
    codes, outputs = group.ended(running)
  assert codes[1 - lost] == 5
  assert f'error: process {lost} of 2 is lost' in outputs[1 - lost][1].strip().splitlines()[-1]
  group.run(PIPELINE, workdir, 2)
  assert group.left(PIPELINE, workdir) == whole(PIPELINE)

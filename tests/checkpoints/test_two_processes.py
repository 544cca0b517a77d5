"""Two processes save and restore as one: each its parts, and all the same checkpoint."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from checkpoints import Checkpoints, manifest
from tests import peers
from tests.checkpoints import peer

SECS = 60.0  # for all that two processes do


def mesh(rows):
  return Mesh(np.asarray(jax.devices()).reshape(rows, -1), ('x', 'y'))


def run_pair(folder):
  """Runs peer.py twice; returns what each found."""
  address = f'127.0.0.1:{peers.free_port()}'
  place = {**peers.environment(), 'PYTHONPATH': os.getcwd()}
  command = [sys.executable, '-m', 'tests.checkpoints.peer', address]
  with (folder / 'log').open('w') as log:
    both = [
      subprocess.Popen([*command, index, folder], env=place, stdout=log, stderr=log)
      for index in ('0', '1')
    ]
    try:
      codes = [one.wait(SECS) for one in both]
    finally:
      for one in both:
        one.kill()  # SIGTERM would not end them: JAX takes it for a preemption
        one.wait()
  assert codes == [0, 0], (folder / 'log').read_text()[-3000:]
  return [json.loads((folder / f'found-{index}.json').read_text()) for index in (0, 1)]


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
  folder = tmp_path_factory.mktemp('pair')
  saved = Checkpoints(folder / 'alone')
  saved.save(5, peer.state(5, mesh(2)))
  saved.close()
  (folder / 'pair' / '9.orbax-checkpoint-tmp' / 'state').mkdir(parents=True)
  return folder, run_pair(folder)


@pytest.mark.parametrize(
  ('what', 'step'),
  [
    ('nothing', 0),
    ('all', 3),
    ('first of two', 2),
    ('second of two', 2),
    ('another mesh', 3),
    ('one process', 5),
    ('truncated', 2),
    ('deleted', 1),
    ('saved again', 2),
  ],
)
def test_both_processes_restore_the_same_checkpoint_bit_for_bit(pair, what, step):
  for found in pair[1]:
    assert found[what] == [step, True]


def test_both_refuse_another_tree(pair):
  for found in pair[1]:
    assert 'has both = float32[8, 1200] where this config has nothing' in found['another tree']


def test_what_two_saved_is_restored_by_one_on_another_mesh(pair):
  like = peer.state(0, mesh(4))
  restored, step = Checkpoints(pair[0] / 'pair').restore_or(like)
  assert step == 2
  assert peer.same(restored, 12, like)


def test_two_processes_write_the_manifest_that_one_would(pair):
  held = manifest.read(pair[0] / 'pair' / '2' / 'manifest')
  assert held == {**manifest.digests(peer.values(12)), manifest.STEP: 2}


def test_damaged_ones_are_kept_and_unfinished_ones_deleted(pair):
  folder = pair[0]
  assert sorted(path.name for path in (folder / 'pair_unreadable').iterdir()) == ['2', '3']
  assert sorted(path.name for path in (folder / 'pair').iterdir()) == ['1', '2']

"""Checkpoints come back bit for bit, or are refused."""

import hashlib
import json
import shutil
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from checkpoints import Checkpoints, manifest
from l2o.errors import InputError, RunError
from tests.checkpoints import peer
from trainers.stages.state import MetaState


def state(scale=1.0):
  theta = {'mlp': {'kernel': scale * jnp.arange(6.0).reshape(2, 3) / 7}}
  half = (jnp.asarray([scale, -0.3], jnp.bfloat16), jnp.int32(4))
  return MetaState(jnp.int32(3), theta, half, {})


def test_a_state_comes_back_bit_for_bit_with_its_types(tmp_path):
  saved = Checkpoints(tmp_path)
  saved.save(3, state())
  saved.close()
  restored, step = Checkpoints(tmp_path).restore_or(state(scale=0.0))
  assert step == 3
  assert jax.tree.structure(restored) == jax.tree.structure(state())
  for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(state()), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


def test_without_a_checkpoint_the_state_is_the_given_one(tmp_path):
  given = state()
  assert Checkpoints(tmp_path / 'new').restore_or(given) == (given, 0)


def test_the_newest_few_are_kept(tmp_path):
  saved = Checkpoints(tmp_path, keep=2)
  for step in (1, 2, 3):
    saved.save(step, state(step))
  saved.save(3, state(9.0))  # already there
  saved.close()
  assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == ['2', '3']
  restored, _ = Checkpoints(tmp_path).restore_or(state())
  np.testing.assert_array_equal(restored.theta['mlp']['kernel'], state(3).theta['mlp']['kernel'])


def test_saving_waits_for_its_interval(tmp_path, monkeypatch):
  now = [100.0]
  monkeypatch.setattr(time, 'monotonic', lambda: now[0])
  saved = Checkpoints(tmp_path, every_secs=10.0)
  assert not saved.is_due()
  now[0] += 10.0
  assert saved.is_due()
  saved.save(1, state())
  assert not saved.is_due()
  saved.close()


def test_a_donated_state_does_not_reach_what_is_being_written(tmp_path):
  step = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
  big = {'w': jnp.arange(2_000_000.0)}
  expected = np.asarray(big['w']).copy()
  saved = Checkpoints(tmp_path)
  saved.save(1, big)
  jax.block_until_ready(step(big))
  saved.close()
  restored, _ = Checkpoints(tmp_path).restore_or({'w': jnp.zeros(2_000_000)})
  np.testing.assert_array_equal(restored['w'], expected)


def damage(folder, how):
  """What crashes and full disks leave behind."""
  if how == 'empty folder':
    for path in sorted(folder.rglob('*'), reverse=True):
      path.rmdir() if path.is_dir() else path.unlink()
  elif how.startswith('no '):
    shutil.rmtree(folder / how.removeprefix('no '))
  else:
    for path in folder.rglob('*'):
      if path.is_file() and path.parent.name == 'd':
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# Where one leaf cannot be read, Orbax closes its event loop under the reads of the others.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('how', ['empty folder', 'no state', 'no manifest', 'truncated'])
def test_the_newest_sound_checkpoint_is_used_and_the_damaged_one_reported(tmp_path, how, caplog):
  saved = Checkpoints(tmp_path)
  saved.save(1, state(1.0))
  saved.save(2, state(2.0))
  saved.close()
  damage(tmp_path / '2', how)
  again = Checkpoints(tmp_path)
  restored, step = again.restore_or(state(0.0))
  assert step == 1
  np.testing.assert_array_equal(restored.theta['mlp']['kernel'], state(1.0).theta['mlp']['kernel'])
  assert 'checkpoint 2 in' in caplog.text
  again.save(2, state(3.0))
  again.close()
  restored, step = Checkpoints(tmp_path).restore_or(state(0.0))
  assert step == 2
  np.testing.assert_array_equal(restored.theta['mlp']['kernel'], state(3.0).theta['mlp']['kernel'])


def test_a_flipped_bit_is_found(tmp_path, caplog):
  rng = np.random.default_rng(0)
  given = {'w': jnp.asarray(rng.normal(size=5_000), jnp.float32)}
  for bit in range(10):
    folder = tmp_path / str(bit)
    saved = Checkpoints(folder)
    saved.save(1, jax.tree.map(jnp.negative, given))
    saved.save(2, given)
    saved.close()
    data = max((folder / '2' / 'state').rglob('*'), key=lambda path: path.stat().st_size)
    flipped = bytearray(data.read_bytes())
    flipped[rng.integers(len(flipped) // 4, 3 * len(flipped) // 4)] ^= 1 << rng.integers(8)
    data.write_bytes(flipped)
    restored, step = Checkpoints(folder).restore_or(given)
    assert step == 1
    np.testing.assert_array_equal(restored['w'], -given['w'])
  assert 'w is not what was saved' in caplog.text


@pytest.mark.parametrize('change', ['dtype', 'shape', 'missing', 'extra'])
def test_another_tree_is_refused_by_the_name_of_the_leaf(tmp_path, change):
  saved = Checkpoints(tmp_path)
  saved.save(1, state())
  saved.close()
  theta = {
    'dtype': {'mlp': {'kernel': jnp.zeros((2, 3), jnp.bfloat16)}},
    'shape': {'mlp': {'kernel': jnp.zeros((3, 2))}},
    'missing': {'mlp': {}},
    'extra': {'mlp': {'kernel': jnp.zeros((2, 3)), 'kernel_2': jnp.zeros(1)}},
  }[change]
  with pytest.raises(InputError, match=r'theta/mlp/kernel.* where this config has'):
    Checkpoints(tmp_path).restore_or(state()._replace(theta=theta))


def mesh(rows):
  return Mesh(np.asarray(jax.devices()).reshape(rows, -1), ('x', 'y'))


@pytest.mark.parametrize('rows', [1, 2, 8])
def test_a_spread_state_is_restored_bit_for_bit_on_another_mesh(tmp_path, rows):
  """Its arrays have ranks 0 to 4, two types and NaN."""
  saved = Checkpoints(tmp_path)
  saved.save(4, peer.state(4, mesh(2)))
  saved.close()
  like = peer.state(0, mesh(rows))
  restored, step = Checkpoints(tmp_path).restore_or(like)
  assert step == 4
  assert peer.same(restored, 4, like)


def test_a_restored_state_may_be_donated(tmp_path):
  """Its buffers are its own, although they were made from NumPy arrays."""
  like = peer.state(3, mesh(2))
  saved = Checkpoints(tmp_path)
  saved.save(3, like)
  restored, _ = saved.restore_or(like)
  step = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
  for found, start in zip(step(restored).values(), peer.values(3).values(), strict=True):
    np.testing.assert_array_equal(found, start + np.ones((), start.dtype))
  saved.close()


def test_the_manifest_keeps_the_digests_that_older_versions_wrote(tmp_path):
  saved = Checkpoints(tmp_path)
  saved.save(2, peer.state(2, mesh(2)))
  saved.close()
  digests = {name: hashlib.sha256(x.tobytes()).hexdigest() for name, x in peer.values(2).items()}
  written = json.loads((tmp_path / '2' / 'manifest' / 'metadata').read_text())
  assert written == {**digests, '(step)': 2}


def test_digests_are_of_empty_arrays_too():
  leaves = {'empty': np.zeros((0, 3), np.float32), 'flag': np.True_}
  digests = {name: hashlib.sha256(x.tobytes()).hexdigest() for name, x in leaves.items()}
  assert manifest.digests(leaves) == digests


def test_saving_does_not_wait_for_the_digests(tmp_path, monkeypatch):
  go, threads, digests = threading.Event(), [], manifest.digests

  def slow(leaves):
    threads.append(threading.current_thread())
    assert go.wait(60)
    return digests(leaves)

  monkeypatch.setattr(manifest, 'digests', slow)
  saved = Checkpoints(tmp_path)
  saved.save(1, state())
  go.set()  # not reached within 60 seconds if `save` waits
  saved.close()
  assert threads[0] is not threading.main_thread()
  assert Checkpoints(tmp_path).restore_or(state())[1] == 1


def test_an_error_of_the_digests_is_raised_and_leaves_no_checkpoint(tmp_path, monkeypatch):
  def fail(leaves):
    # Orbax does not wait for what it still writes.
    while not [*tmp_path.glob('1.*/state.*/ocdbt.process_0/manifest.ocdbt')]:
      time.sleep(0.01)
    time.sleep(0.2)
    raise OSError('no space left')

  monkeypatch.setattr(manifest, 'digests', fail)
  saved = Checkpoints(tmp_path)
  saved.save(1, state())
  with pytest.raises(RunError, match=r'a checkpoint cannot be written \(no space left\); fix this'):
    saved.close()
  monkeypatch.undo()
  assert Checkpoints(tmp_path).restore_or(state())[1] == 0


def test_checkpoints_that_a_killed_run_left_unfinished_are_deleted(tmp_path):
  saved = Checkpoints(tmp_path)
  saved.save(1, state())
  saved.close()
  for name in ('2.orbax-checkpoint-tmp', '2.orbax-checkpoint-tmp-1700000000'):
    shutil.copytree(tmp_path / '1', tmp_path / name)
  again = Checkpoints(tmp_path)
  assert sorted(path.name for path in tmp_path.iterdir()) == ['1']
  assert again.restore_or(state())[1] == 1


def test_what_is_on_disk_is_judged_by_the_process_that_decides(tmp_path):
  """A stand-in for another process, which is told that there is no checkpoint."""
  saved = Checkpoints(tmp_path, decided=lambda decide: decide())
  saved.save(1, state(1.0))
  saved.close()
  given, told = state(0.0), []
  other = Checkpoints(tmp_path, decided=lambda decide: told.append(decide))
  assert other.restore_or(given) == (given, 0)
  assert len(told) == 2  # preparing the folder, and which checkpoint

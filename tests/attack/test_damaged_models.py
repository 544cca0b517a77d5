"""Arrays in files: what is written comes back, and a model that was changed starts no job."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import l2o
from l2o.artifacts import arrays_file
from tests.attack.damage import cuts, flips, outcome, same
from trainers.harness.folder import MODEL, Folder
from trainers.resources import saved_model

BIG = np.arange(24, dtype=np.float32).reshape(4, 6)

LEAVES = {
  'transposed': BIG.T,
  'strided': BIG[::2, ::3],
  'reversed': BIG[::-1],
  'fortran': np.asfortranarray(BIG),
  'broadcast': np.broadcast_to(np.float32(3), (5, 4)),
  'broadcast rows': np.broadcast_to(BIG[0], (3, 6)),
  'big-endian': BIG.astype('>f4'),
  'big-endian scalar': np.array(1.5, '>f8'),
  'scalar': np.float32(2.5),
  'number': 0.25,
  'no axes': np.array(7, np.int32),
  'empty': np.zeros((0, 3), np.float32),
  'empty transposed': np.zeros((3, 0)).T,
  'bool': np.array([True, False]),
  'bfloat16': np.asarray(jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3)).T,
  'jax': jnp.arange(6.0).reshape(2, 3).T,
  'jax bfloat16': jnp.ones((), jnp.bfloat16),
}


@pytest.mark.parametrize('kind', LEAVES)
def test_every_array_comes_back_by_value_type_and_shape(tmp_path, kind):
  leaf = LEAVES[kind]
  tree = {'x': {'y/z': leaf, '': np.ones(1)}, 'beside': np.ones(3)}
  (tmp_path / 'results.json').write_text('{}')
  saved_model.save(Folder(tmp_path), tree, {})
  params, state = saved_model.load(Folder(tmp_path))
  assert state == {}
  found, wanted = params['x']['y/z'], np.asarray(leaf)
  assert found.dtype == wanted.dtype.newbyteorder('=')
  assert found.shape == wanted.shape
  np.testing.assert_array_equal(found, wanted)
  np.testing.assert_array_equal(params['x'][''], np.ones(1))


@pytest.mark.parametrize(
  ('tree', 'says'),
  [
    ({'a': {'b:': np.ones(1)}}, 'begins or ends with a colon'),
    ({'a': {':b': np.ones(1)}}, 'begins or ends with a colon'),
    ({0: np.ones(1)}, 'their key 0 is not a string'),
    ({'a': None}, 'a cannot be saved: its dtype is object'),
    ({'a': 'text'}, 'a cannot be saved: its dtype is'),
    ({'a': np.ones(2, np.complex128)}, 'a cannot be saved: its dtype is complex128'),
    ({'a': jax.random.key(0)}, 'a cannot be saved'),
    (np.ones(3), 'only nested dicts of arrays'),
  ],
)
def test_what_would_come_back_as_something_else_is_not_packed(tree, says):
  with pytest.raises(l2o.InputError, match=says):
    arrays_file.pack(tree, {})


def test_a_trained_model_with_a_bit_turned_over_starts_no_job(tmp_path):
  (tmp_path / 'results.json').write_text('{}')
  state = {'batch_stats': {'mean': np.ones(2, np.float32)}}
  saved_model.save(Folder(tmp_path), {'w': BIG, 'b': np.zeros(3, np.float32)}, state)
  path = tmp_path / MODEL
  content, wanted = path.read_bytes(), saved_model.load(Folder(tmp_path))[0]
  header = 8 + int.from_bytes(content[:8], 'little')
  everywhere = [*flips(content), *flips(content[:header], 100, 1), *cuts(content)]
  for changed in (c if len(c) != header else c + content[header:] for c in everywhere):
    path.write_bytes(changed)
    found = outcome(lambda: saved_model.load(Folder(tmp_path)))
    assert found is None or same(found[0], wanted)
  for place in range(header, len(content)):  # the data, byte by byte
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(l2o.InputError, match=r'start: .*is damaged.*run its job again'):
      saved_model.load(Folder(tmp_path))


@pytest.mark.parametrize(
  ('tree', 'about', 'says'),
  [
    ({'model_state': {'m': BIG}}, {'format': 1, 'parts': ['model_state']}, 'lacks params'),
    ({'params': {'w': BIG}}, {'format': 1, 'parts': ['params', 'model_state']}, 'lacks model_st'),
    ({'params': {'w': BIG}}, {'format': 2, 'parts': []}, 'format must be 1, not 2'),
    ({'params': {'w': BIG}}, {'format': 1}, 'needs parts'),
    ({'params': {'w': BIG}}, {'format': 1, 'parts': 'params'}, 'parts must be a list'),
  ],
)
def test_a_trained_model_with_a_part_missing_is_refused(tmp_path, tree, about, says):
  (tmp_path / 'results.json').write_text('{}')
  (tmp_path / MODEL).write_bytes(arrays_file.pack(tree, about))
  with pytest.raises(l2o.InputError, match=rf'start: .*{says}'):
    saved_model.load(Folder(tmp_path))


def test_a_trained_model_without_a_digest_is_refused(tmp_path):
  (tmp_path / 'results.json').write_text('{}')
  safetensors.numpy.save_file({'params::w': BIG}, tmp_path / MODEL)
  with pytest.raises(l2o.InputError, match=r'lacks l2o and sha256\); run its job again'):
    saved_model.load(Folder(tmp_path))

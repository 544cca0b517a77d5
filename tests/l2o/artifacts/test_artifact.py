"""A meta-trained optimizer in a file."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import l2o

PARAMS = {'Dense_0': {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}, 'head': jnp.ones(4)}
SPEC = {'name': 'l3rs', 'directions': ['sgd', {'name': 'adam', 'b1': 0.8, 'learnable': ['b2']}]}
CARD = {'config': {'seed': 3}, 'revision': 'abc', 'results': [{'accuracy_mean': 0.5}]}


@pytest.fixture
def saved(tmp_path):
  """(file, theta)."""
  theta = l2o.rule(**SPEC).init(jax.random.key(0), PARAMS)
  l2o.save(tmp_path / 'mine.safetensors', theta, PARAMS, SPEC, CARD)
  return tmp_path / 'mine.safetensors', theta


def first_update(tx, params=PARAMS):
  return tx.update(params, tx.init(params), params, value=1.0)[0]


def test_what_is_loaded_steps_as_what_was_saved(saved):
  path, theta = saved
  loaded = l2o.load(path, PARAMS, num_steps=10)
  expected = first_update(l2o.rule(**SPEC).bind(theta, 10))
  jax.tree.map(np.testing.assert_array_equal, first_update(loaded), expected)
  other = first_update(l2o.load(path, PARAMS, num_steps=20))
  assert np.any(other['head'] != expected['head'])
  assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_file_tells_what_it_is(saved):
  path, theta = saved
  held = l2o.read(str(path))
  assert held.spec == SPEC
  assert held.card == CARD
  assert held.layers == {'Dense_0/bias': (2,), 'Dense_0/kernel': (3, 2), 'head': (4,)}
  # A direction without hyper-parameters has no leaves, hence no place in the file.
  written = jax.tree_util.tree_leaves_with_path(theta)
  for (path, a), (other, b) in zip(
    written, jax.tree_util.tree_leaves_with_path(held.theta), strict=True
  ):
    assert path == other
    np.testing.assert_array_equal(a, b)


def test_other_layers_are_refused_by_name_or_get_the_mean_embedding(saved):
  path, _ = saved
  other = {'Dense_0': PARAMS['Dense_0'], 'logits': jnp.ones(4)}
  with pytest.raises(
    l2o.InputError, match=r'lacks logits and has head in addition.*mean_embedding'
  ):
    l2o.load(path, other, num_steps=5)
  updates = first_update(l2o.load(path, other, 5, on_mismatch='mean_embedding'), other)
  assert np.all(updates['logits'] != 0)
  with pytest.raises(l2o.InputError, match="no value of on_mismatch 'men'"):
    l2o.load(path, other, num_steps=5, on_mismatch='men')


@pytest.mark.parametrize('where', ['number', 'card'])
def test_a_change_is_found_by_its_digest(saved, where):
  path, _ = saved
  raw = bytearray(path.read_bytes())
  if where == 'number':
    raw[-9] ^= 1
  else:
    raw = raw.replace(b'abc', b'abd')
  path.write_bytes(raw)
  with pytest.raises(l2o.InputError, match='damaged: its content does not match its SHA-256'):
    l2o.read(path)


def test_another_format_is_refused_by_its_number(tmp_path):
  """Its SHA-256 is of the description, then of each array after its name, dtype and shape."""
  text, arrays = '{"format": 2}', {'w': np.ones(2, np.float32)}
  hashed = text.encode() + b'\nw float32 (2,)\n' + 2 * b'\x00\x00\x80\x3f'
  metadata = {'l2o': text, 'sha256': hashlib.sha256(hashed).hexdigest()}
  safetensors.numpy.save_file(arrays, tmp_path / 'new.safetensors', metadata=metadata)
  with pytest.raises(l2o.InputError, match='has format 2, but this version of l2o reads 1'):
    l2o.read(tmp_path / 'new.safetensors')


@pytest.mark.parametrize('content', [None, b'', b'hello', b'\x80\x04\x95pickle'])
def test_what_is_no_optimizer_is_refused(tmp_path, content):
  path = tmp_path / 'other.safetensors'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(l2o.InputError, match='holds no optimizer written by'):
    l2o.read(path)
  safetensors.numpy.save_file({'w': np.ones(2)}, path)
  with pytest.raises(l2o.InputError, match='holds no optimizer written by'):
    l2o.read(path)


@pytest.mark.parametrize(
  ('theta', 'card', 'says'),
  [
    ({'a::b': np.ones(2)}, {}, "'a::b' contains"),
    ({'a': [np.ones(2)]}, {}, 'nested dicts'),
    ({'a': np.ones(2)}, {'config': object()}, 'JSON'),
    ({'a': np.ones(2)}, {'result': float('nan')}, 'JSON'),
  ],
)
def test_what_would_not_come_back_is_not_written(tmp_path, theta, card, says):
  with pytest.raises(ValueError, match=says):
    l2o.save(tmp_path / 'bad.safetensors', theta, PARAMS, SPEC, card)
  assert not any(tmp_path.iterdir())


def test_the_zoo_is_found_by_name_and_small():
  from l2o.artifacts.artifact import SUFFIX, ZOO

  assert 'l3rs-quickstart' in l2o.zoo()
  assert sum((ZOO / f'{name}{SUFFIX}').stat().st_size for name in l2o.zoo()) < 200_000
  for name in l2o.zoo():
    held = l2o.read(name)
    assert {'config', 'classes', 'revision', 'results'} <= set(held.card)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(held.theta))
  with pytest.raises(
    l2o.InputError, match=r"no optimizer in the zoo 'l3rs-quikstart'.*did you mean"
  ):
    l2o.read('l3rs-quikstart')


def test_as_a_rule_it_begins_with_what_was_learned(saved):
  path, theta = saved
  rule = l2o.rule('artifact', path=str(path))
  begun = rule.init(jax.random.key(7), PARAMS)
  jax.tree.map(np.testing.assert_array_equal, begun['mlp'], theta['mlp'])
  updates = first_update(rule.bind(begun, 10))
  expected = first_update(l2o.load(path, PARAMS, num_steps=10))
  jax.tree.map(np.testing.assert_array_equal, updates, expected)
  with pytest.raises(l2o.InputError, match='lacks w'):
    rule.init(jax.random.key(0), {'w': jnp.ones(3)})

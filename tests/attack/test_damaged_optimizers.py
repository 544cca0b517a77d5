"""Files of optimizers, damaged, forged or not there: equal or refused in a sentence."""

import json
import os
import pathlib

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import l2o
from l2o.artifacts import arrays_file
from l2o.rules.velo import load_theta
from tests.attack.damage import cuts, flips, outcome, same
from tests.l2o.rules.velo_reference import released

PARAMS = {'a': jnp.ones((3, 2)), 'head': jnp.ones(4)}
SPEC = {'name': 'l3rs', 'directions': ['sgd', 'adam'], 'hidden': [3]}


@pytest.mark.parametrize(
  'change', [lambda x: np.asarray(x, order='F'), lambda x: x.astype('>f4'), jnp.asarray]
)
def test_an_optimizer_of_any_layout_comes_back(tmp_path, change):
  theta = l2o.rule(**SPEC).init(jax.random.key(0), PARAMS)
  path = tmp_path / 'mine.safetensors'
  l2o.save(path, jax.tree.map(lambda x: change(np.asarray(x)), theta), PARAMS, SPEC)
  found = l2o.read(path).theta
  wanted = dict(arrays_file.leaves(theta))
  assert {keys for keys, _ in arrays_file.leaves(found)} == set(wanted)
  for keys, leaf in arrays_file.leaves(found):
    np.testing.assert_array_equal(leaf, wanted[keys])


def test_an_optimizer_with_a_bit_turned_over_is_refused(tmp_path):
  theta = l2o.rule(**SPEC).init(jax.random.key(0), PARAMS)
  path = tmp_path / 'mine.safetensors'
  l2o.save(path, theta, PARAMS, SPEC, {'results': [1.5]})
  content, wanted = path.read_bytes(), l2o.read(path)
  header = content[: 8 + int.from_bytes(content[:8], 'little')]
  parts = [f + content[len(header) :] for f in flips(header, 200, 2)]
  for changed in (*flips(content), *parts, *cuts(content)):
    for name in ('mine.safetensors', 'mine'):
      (tmp_path / name).write_bytes(changed)
      found = outcome(lambda name=name: l2o.read(tmp_path / name))
      assert found is None or (same(found.theta, wanted.theta) and found.spec == wanted.spec)


def test_a_released_file_with_a_bit_turned_over_is_weights_or_refused(tmp_path):
  """Its format has no digest: other numbers go unnoticed, as long as they are finite."""
  content, path = released(), tmp_path / 'theta'
  refused = 0
  for changed in flips(content, 300, 3):
    path.write_bytes(changed)
    found = outcome(lambda: l2o.read(path))
    refused += found is None
    for leaf in [] if found is None else jax.tree.leaves(found.theta):
      assert leaf.dtype == np.float32
      assert np.all(np.isfinite(leaf))
  assert refused > 50
  for changed in cuts(content, 100):
    path.write_bytes(changed)
    assert outcome(lambda: l2o.read(path)) is None


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    (lambda t: t['lstm_init_state'].update(cell=3), 'lstm_init_state/cell is not an array'),
    (lambda t: t['lstm_init_state'].update(cell='x'), 'lstm_init_state/cell is not an array'),
    (lambda t: t['lstm_init_state'].update(cell=[1.0]), 'lstm_init_state/cell is not an array'),
    (lambda t: t.update(more={3: np.ones(1)}), 'more/3 is unknown'),
    (
      lambda t: t['lstm_init_state'].update(cell=np.full((1, 4), np.nan, np.float32)),
      'lstm_init_state/cell has values that are not finite',
    ),
    (
      lambda t: t['lstm_init_state'].update(cell=np.full((1, 4), 1e300)),
      'lstm_init_state/cell has values that are not finite',
    ),
    (
      lambda t: t['lstm_init_state'].update(cell=np.ones((1, 4), np.complex64)),
      'lstm_init_state/cell is not an array of numbers',
    ),
    (
      lambda t: t['rnn_params'].update(rnn={'linear': t['rnn_params']['rnn/linear']}),
      'two of its arrays have the same name',
    ),
    (lambda t: t['rnn_params']['linear'].update(w=np.float32(1)), 'is not an array'),
    (
      lambda t: t['lstm_init_state'].update(hidden=np.ones(4, np.float32)),
      'hidden .* too few axes',
    ),
  ],
)
def test_a_released_file_of_other_leaves_is_refused(tmp_path, change, says):
  (tmp_path / 'theta').write_bytes(released(change))
  for load in (load_theta, l2o.read):
    with pytest.raises(l2o.InputError, match=says):
      load(tmp_path / 'theta')


@pytest.mark.parametrize('tree', [[1, 2], 'text', None, 5, {}, {'a': {}}, np.ones(3)])
def test_a_msgpack_file_of_something_else_is_refused(tmp_path, tree):
  (tmp_path / 'theta').write_bytes(flax.serialization.msgpack_serialize(tree))
  with pytest.raises(l2o.InputError, match='holds no weights of VeLO or Celo'):
    load_theta(tmp_path / 'theta')


def nested(depth):
  block = {}
  for _ in range(depth):
    block = {'a': block}
  return block


def forged(path, theta, **changes):
  """A file whose digest is right and whose description is not."""
  about = {'format': 1, 'spec': SPEC, 'layers': {'a': [3, 2], 'head': [4]}, 'card': {}} | changes
  text = json.dumps({key: value for key, value in about.items() if value is not ...})
  write(path, text, arrays_file.flatten(theta))


def write(path, text, arrays):
  metadata = {'l2o': text, 'sha256': arrays_file.digest(text, arrays)}
  safetensors.numpy.save_file(arrays, path, metadata=metadata)


HUB = {'name': 'hub', 'hand_designed': {'name': 'hand_designed', 'optimizer': 'sgd'}}


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'spec': ...}, 'needs spec'),
    ({'layers': ...}, 'needs layers'),
    ({'card': ...}, 'needs card'),
    ({'format': ...}, 'needs format'),
    ({'format': 1.0}, 'format must be .*'),
    ({'format': None}, 'has format None, but this version of l2o reads 1'),
    ({'card': [1]}, 'card must be a block of keys'),
    ({'card': nested(70)}, 'nested deeper than 64 levels'),
    ({'spec': 'l3rs'}, 'spec must be a block of keys'),
    ({'spec': {}}, 'the rule needs a name'),
    ({'spec': {'name': 'l4rs'}}, "no rule 'l4rs'"),
    ({'spec': {'name': ['l3rs']}}, 'no rule'),
    ({'spec': SPEC | {'hiden': [3]}}, "has no 'hiden'"),
    ({'spec': SPEC | {'directions': 5}}, 'mine.safetensors: '),
    ({'spec': SPEC | {'hidden': [4]}}, r'mlp::dense_0::kernel is \(\d+, 3\), not \(\d+, 4\)'),
    ({'spec': SPEC | {'hidden': [-3]}}, 'mine.safetensors'),
    ({'spec': SPEC | {'hidden': ['x']}}, 'mine.safetensors'),
    ({'spec': SPEC | {'directions': ['adam']}}, r'dense_1::bias is \(3,\), not \(2,\)'),
    ({'spec': {'name': 'velo', 'lstm_width': 4, 'bank_size': 2}}, 'is missing.* more'),
    ({'spec': {'name': 'velo', 'weights': '/none'}}, 'theta is not one of VeLO or Celo'),
    ({'spec': HUB | {'learned': SPEC}}, 'learned::embedding::a is missing'),
    ({'spec': {'name': 'head_only', 'rule': SPEC, 'head': 'top'}}, "no head 'top'"),
    ({'spec': {'name': 'artifact'}}, 'rule artifact needs path'),
    ({'spec': {'name': 'artifact', 'path': 3}}, 'path must be a string'),
    ({'spec': {'name': 'artifact', 'path': 'no/such'}}, 'no/such holds no optimizer'),
    ({'layers': [3]}, 'layers must be a block of keys'),
    ({'layers': {'a': 3}}, 'layers.a must be a list'),
    ({'layers': {'a': [-1], 'head': [4]}}, r'layers.a\[0\] must be .*'),
    ({'layers': {'a': ['3'], 'head': [4]}}, r'layers.a\[0\] must be .*'),
    ({'layers': {'b': [3], 'head': [4]}}, 'embedding::b is missing; embedding::a is unknown'),
  ],
)
def test_a_description_that_is_wrong_is_refused(tmp_path, changes, says):
  path = tmp_path / 'mine.safetensors'
  forged(path, l2o.rule(**SPEC).init(jax.random.key(0), PARAMS), **changes)
  with pytest.raises(l2o.InputError, match=says) as error:
    l2o.read(path)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('[1]', 'not a JSON object'),
    ('null', 'not a JSON object'),
    ('', 'not JSON'),
    ('{"format": 1', 'not JSON'),
    ('[' * 10**5 + ']' * 10**5, 'not JSON'),
    ('{"card": ' + '[' * 500 + ']' * 500 + '}', 'nested deeper'),
    ('9' * 5000, 'not JSON'),
  ],
)
def test_a_description_that_is_no_object_is_refused(tmp_path, text, says):
  write(tmp_path / 'x.safetensors', text, {'w': np.ones(1)})
  with pytest.raises(l2o.InputError, match=says):
    l2o.read(tmp_path / 'x.safetensors')


def test_arrays_with_one_name_are_refused(tmp_path):
  for names in (('a', 'a::b'), ('a', 'a::b::c'), ('mlp::x', 'mlp')):
    text = json.dumps({'format': 1, 'spec': SPEC, 'layers': {}, 'card': {}})
    write(tmp_path / 'x.safetensors', text, {name: np.ones(2, np.float32) for name in names})
    with pytest.raises(l2o.InputError, match='below the array'):
      l2o.read(tmp_path / 'x.safetensors')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_a_theta_that_is_not_finite_is_neither_written_nor_read(tmp_path, value):
  theta = l2o.rule(**SPEC).init(jax.random.key(0), PARAMS)
  theta['embedding']['a'] = theta['embedding']['a'].at[3].set(value)
  with pytest.raises(l2o.InputError, match='embedding::a has values that are not finite'):
    l2o.save(tmp_path / 'x.safetensors', theta, PARAMS, SPEC)
  assert not any(tmp_path.iterdir())
  unknown = {'layers': {}, 'spec': {'name': 'head_only', 'rule': SPEC}}
  for changes in ({}, {'layers': {}}, unknown):
    forged(tmp_path / 'x.safetensors', theta, **changes)
    with pytest.raises(l2o.InputError, match='embedding::a has values that are not finite'):
      l2o.read(tmp_path / 'x.safetensors')


def test_files_that_name_one_another_are_refused_or_resolved(tmp_path):
  """A rule `artifact` is the rule of its file; theta is its own."""
  theta = l2o.rule(**SPEC).init(jax.random.key(0), PARAMS)
  loop, other, good = (tmp_path / f'{name}.safetensors' for name in ('loop', 'other', 'good'))
  forged(loop, theta, spec={'name': 'artifact', 'path': str(loop)})
  with pytest.raises(l2o.InputError, match='names itself as its rule'):
    l2o.read(loop)
  forged(loop, theta, spec={'name': 'artifact', 'path': str(other)})
  os.symlink(loop, tmp_path / 'link.safetensors')
  link = {'name': 'head_only', 'rule': {'name': 'artifact', 'path': f'{tmp_path}/link.safetensors'}}
  forged(other, theta, spec=link)
  for path in (loop, other):
    with pytest.raises(l2o.InputError, match='names itself as its rule'):
      l2o.read(path)
  l2o.save(good, theta, PARAMS, SPEC)
  forged(other, theta, spec={'name': 'artifact', 'path': str(good)})
  assert l2o.read(other).spec == SPEC
  previous = good
  for number in range(12):
    path = tmp_path / f'{number}.safetensors'
    forged(path, theta, spec={'name': 'artifact', 'path': str(previous)})
    previous = path
  with pytest.raises(l2o.InputError, match='follows 8 files that each name the next'):
    l2o.read(previous)


def test_a_saved_file_needs_no_other(tmp_path):
  (tmp_path / 'weights').write_bytes(released())
  learned = {'name': 'celo', 'weights': str(tmp_path / 'weights')}
  l2o.save(tmp_path / 'one', l2o.rule(**learned).init(None, PARAMS), PARAMS, learned)
  spec = HUB | {'learned': {'name': 'artifact', 'path': str(tmp_path / 'one')}}
  theta = l2o.rule(**spec).init(jax.random.key(0), PARAMS)
  l2o.save(tmp_path / 'both', theta, PARAMS, spec)
  (tmp_path / 'weights').unlink()
  (tmp_path / 'one').unlink()
  held = l2o.read(tmp_path / 'both')
  assert held.spec['learned'] == {'name': 'celo', 'lstm_width': 4, 'bank_size': 2}
  assert same(held.theta, theta)
  l2o.load(tmp_path / 'both', PARAMS, num_steps=5).init(PARAMS)


@pytest.mark.parametrize(
  'name', ['', '.', 'folder', 'empty', 'dangling', 'loop', 'x' * 300, 'a\0b']
)
@pytest.mark.parametrize('suffix', ['', '.safetensors'])
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, name, suffix):
  monkeypatch.chdir(tmp_path)
  if name not in ('', '.'):
    name += suffix
  pathlib.Path('folder' + suffix).mkdir()
  pathlib.Path('empty' + suffix).touch()
  os.symlink('nowhere', 'dangling' + suffix)
  os.symlink('loop' + suffix, 'loop' + suffix)
  for path in (name, f'./{name}' if name else name):
    with pytest.raises(l2o.InputError, match=r'holds no|no optimizer in the zoo'):
      l2o.read(path)
    with pytest.raises(l2o.InputError):
      l2o.rule('artifact', path=path)


@pytest.mark.parametrize('name', ['', 'folder', 'no/such', 'x' * 300])
def test_what_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  pathlib.Path('folder').mkdir()
  theta = l2o.rule(**SPEC).init(jax.random.key(0), PARAMS)
  with pytest.raises(l2o.InputError, match=r'cannot be written|is not a file name'):
    l2o.save(name, theta, PARAMS, SPEC)
  assert [p.name for p in tmp_path.iterdir()] == ['folder']


def test_what_a_file_cannot_read_is_said(tmp_path, monkeypatch):
  """As root every file can be read, so that the system's refusal is staged."""
  path = tmp_path / 'mine'
  path.write_bytes(released())

  def refuse(*_, **__):
    raise PermissionError(13, 'Permission denied', str(path))

  monkeypatch.setattr(pathlib.Path, 'open', refuse)
  monkeypatch.setattr(arrays_file.safetensors, 'safe_open', refuse)
  with pytest.raises(l2o.InputError, match='Permission denied'):
    l2o.read(path)

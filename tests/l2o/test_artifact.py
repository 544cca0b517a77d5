"""theta in a file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import l2o


def test_a_rule_goes_on_with_the_theta_it_was_saved_with(tmp_path):
  params = {'Dense_0': {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}}
  rule = l2o.rule('l3rs')
  theta = rule.init(jax.random.key(0), params)
  l2o.save_theta(tmp_path / 'theta.npz', theta)
  loaded = l2o.load_theta(tmp_path / 'theta.npz')

  def first(theta):
    tx = rule.bind(theta, 10)
    return tx.update(params, tx.init(params), params, value=1.0)[0]

  # A direction without hyper-parameters has no leaves, hence no place in the file.
  written = jax.tree_util.tree_leaves_with_path(theta)
  for (path, a), (other, b) in zip(
    written, jax.tree_util.tree_leaves_with_path(loaded), strict=True
  ):
    assert path == other
    np.testing.assert_array_equal(a, b)
  jax.tree.map(np.testing.assert_array_equal, first(loaded), first(theta))
  assert [p.name for p in tmp_path.iterdir()] == ['theta.npz']


def test_what_is_no_theta_is_refused(tmp_path):
  with pytest.raises(l2o.InputError, match='holds no theta'):
    l2o.load_theta(tmp_path / 'none.npz')
  (tmp_path / 'text.npz').write_text('hello')
  with pytest.raises(l2o.InputError, match='holds no theta'):
    l2o.load_theta(tmp_path / 'text.npz')
  np.savez(tmp_path / 'pickle.npz', a=np.array([{'x': 1}], dtype=object))
  with pytest.raises(l2o.InputError, match='holds no theta'):
    l2o.load_theta(tmp_path / 'pickle.npz')


@pytest.mark.parametrize('theta', [{'a::b': np.ones(2)}, {'a': [np.ones(2)]}])
def test_a_tree_that_would_not_come_back_is_not_written(tmp_path, theta):
  with pytest.raises(ValueError, match='theta'):
    l2o.save_theta(tmp_path / 'theta.npz', theta)

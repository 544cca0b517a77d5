"""Full ES is NES whose noise stays as large as it is; its moments are in `test_moments.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.errors import InputError
from l2o.estimators.full_es import full_es
from l2o.estimators.nes import nes
from l2o.estimators.strategy import estimator

THETA = jnp.array([0.3, -0.4, 1.2])


def estimate(strategy, generation=0):
  es = estimator(strategy, lambda theta, tasks: {'loss': jnp.sum((theta - tasks) ** 4)})
  state = es.init(THETA, jax.random.key(0))._replace(generation=jnp.int32(generation))
  return es.estimate(THETA, state, jax.random.key(1), 0.5)


@pytest.mark.parametrize('shaping', ['none', 'centred_rank'])
def test_it_is_the_first_generation_of_nes(shaping):
  mine = full_es(population=8, sigma=0.1, shaping=shaping)
  expected = estimate(nes(population=8, sigma=0.1, shaping=shaping))
  jax.tree.map(np.testing.assert_array_equal, estimate(mine), expected)
  later, first = estimate(mine, generation=900), estimate(mine)
  jax.tree.map(np.testing.assert_array_equal, (later[0], later[2]), (first[0], first[2]))


def test_its_estimate_is_not_shaped_unless_asked_for():
  jax.tree.map(
    np.testing.assert_array_equal, estimate(full_es()), estimate(full_es(shaping='none'))
  )
  assert not np.allclose(estimate(full_es())[0], estimate(full_es(shaping='centred_rank'))[0])


@pytest.mark.parametrize(
  ('arguments', 'says'),
  [
    ({'population': 5}, 'even'),
    ({'sigma': -1.0}, 'above 0'),
    ({'shaping': 'rank'}, 'centred_rank'),
  ],
)
def test_wrong_arguments_are_refused(arguments, says):
  with pytest.raises(InputError, match=says):
    full_es(**arguments)

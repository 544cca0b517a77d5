"""Intervals over groups: they know of the spread between groups, and of that within."""

import numpy as np
import pytest

from reports import bootstrap


def test_the_spread_between_groups_is_in_the_interval(rng):
  """The variance of a mean of means: between groups / groups + within / (groups x values)."""
  centres = rng.normal(1.0, 2.0, 40)
  groups = [rng.normal(centre, 1.0, 25) for centre in centres]
  low, high = bootstrap.nested_interval(groups, samples=4000, seed=0)
  means = np.array([group.mean() for group in groups])
  # Resampled tasks add their own variance to that of the groups' means.
  within = np.mean([group.var() / group.size for group in groups])
  error = np.sqrt((means.var() + within) / len(groups))
  assert high - low == pytest.approx(2 * 1.96 * error, rel=0.06)
  assert (high + low) / 2 == pytest.approx(means.mean(), abs=0.1 * error)
  pooled = bootstrap.interval(np.concatenate(groups), samples=4000, seed=0)
  assert high - low > 3 * (pooled[1] - pooled[0])


def test_one_group_is_its_values(rng):
  values = rng.normal(0.5, 1.0, 200)
  nested = bootstrap.nested_interval([values], samples=20_000, seed=1)
  np.testing.assert_allclose(nested, bootstrap.interval(values, 20_000, seed=2), atol=0.01)

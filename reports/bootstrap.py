"""Bootstrap intervals of a mean."""

from collections.abc import Sequence

import numpy as np


def interval(
  values: np.ndarray, samples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
  """Percentile bootstrap interval of the mean.

  Source: B. Efron, "Bootstrap Methods: Another Look at the Jackknife", Ann. Statist. 7 (1979).

  Args:
    values: [n], independent.
    samples: resamples drawn.
    seed: seed of the resampling.
    level: coverage probability of the interval.

  Example:
    >>> interval(np.array([2.0, 2.0, 2.0]), samples=100, seed=0)
    (2.0, 2.0)
  """
  return _percentiles(_means(np.random.default_rng(seed), values, samples), level)


def nested_interval(
  groups: Sequence[np.ndarray], samples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
  """Like `interval`, for values in exchangeable groups, such as the tasks of several runs.

  Groups are resampled, then values within each, so the interval includes the variance between
  groups. With one group it is the interval of its values.

  Source: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application", 1997, 3.8.

  Args:
    groups: each [n], all of the same length.
    samples: resamples drawn.
    seed: seed of the resampling.
    level: coverage probability of the interval.

  Example:
    >>> nested_interval([np.array([1.0, 1.0]), np.array([3.0, 3.0])], samples=1000, seed=0)
    (1.0, 3.0)
  """
  rng = np.random.default_rng(seed)
  chosen = rng.integers(len(groups), size=(samples, len(groups)))
  means = np.empty(chosen.shape)
  for number, values in enumerate(groups):
    here = chosen == number
    means[here] = _means(rng, values, int(here.sum()))
  return _percentiles(means.mean(axis=1), level)


def _means(rng: np.random.Generator, values: np.ndarray, samples: int) -> np.ndarray:
  """Means of resamples: [samples]."""
  return values[rng.integers(len(values), size=(samples, len(values)))].mean(axis=1)


def _percentiles(means: np.ndarray, level: float) -> tuple[float, float]:
  tail = 50.0 * (1.0 - level)
  low, high = np.percentile(means, [tail, 100.0 - tail])
  return float(low), float(high)

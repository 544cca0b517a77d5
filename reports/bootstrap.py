"""Bootstrap intervals of a mean."""

import numpy as np


def interval(
  values: np.ndarray, samples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
  """Percentile bootstrap interval of the mean.

  Source: B. Efron, "Bootstrap Methods: Another Look at the Jackknife", Ann. Statist. 7 (1979).

  Args:
    values: [n], independent.
    samples: resamples drawn.
    seed: of the resampling.
    level: probability that the interval covers.

  Example:
    >>> interval(np.array([2.0, 2.0, 2.0]), samples=100, seed=0)
    (2.0, 2.0)
  """
  rng = np.random.default_rng(seed)
  means = values[rng.integers(len(values), size=(samples, len(values)))].mean(axis=1)
  tail = 50.0 * (1.0 - level)
  low, high = np.percentile(means, [tail, 100.0 - tail])
  return float(low), float(high)

"""Evolution strategies over whole episodes: the unbiased baseline of the online estimators.

    grad = 1 / n * sum_pairs (L(theta + eps) - L(theta - eps)) / sigma^2 * eps

with eps ~ N(0, sigma^2), over n candidates in antithetic pairs, all on the same tasks and batches:
unbiased for the gradient of E_eps L(theta + eps). It is `nes` with a constant sigma and no
shaping unless asked for.

Source: Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement
Learning", arXiv 1703.03864.
"""

from typing import Annotated

from l2o.arguments import Positive, Range, checked
from l2o.estimators.nes import antithetic
from l2o.types import EvolutionStrategy


@checked
def full_es(
  population: Annotated[int, Range(at_least=2)] = 32,
  sigma: Positive = 0.05,
  shaping: str = 'none',
) -> EvolutionStrategy:
  """Antithetic evolution strategies over whole episodes, with a constant sigma.

  Args:
    population: n candidates, even.
    sigma: standard deviation of the noise.
    shaping: 'none' or 'centred_rank', which is biased and invariant to the scale of the loss.

  Raises:
    InputError: population odd or below 2, sigma not positive, unknown shaping.

  Example:
    >>> import jax
    >>> from l2o.estimators.strategy import estimator
    >>> es = estimator(full_es(population=2000), lambda theta, task: {'loss': (theta - task) ** 2})
    >>> state = es.init(3.0, jax.random.key(0))
    >>> grad, state, metrics = es.estimate(jax.numpy.float32(3.0), state, jax.random.key(1), 1.0)
    >>> bool(3.5 < grad < 4.5)
    True
  """
  return antithetic(population, lambda generation: sigma, shaping)

"""Bounds of the hyper-parameters of optax's optimizers, by name."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import jax

from l2o.arguments import Count, Decay, NotNegative, Positive, Range, Whole, check

Share = Annotated[float, Range(at_least=0, at_most=1)]


class HyperParameters(NamedTuple):
  """A name means the same in every optimizer."""

  adam_b1: Decay
  adam_b2: Decay
  adam_eps_root: NotNegative
  adam_weight_decay: NotNegative
  b1: Decay
  b2: Decay
  b3: Decay
  beta: Share  # 1 is the default of the optimistic optimizers
  beta3: Decay
  betas: Sequence[Decay]
  clipping_threshold: Positive
  decay: Decay
  decay_offset: Whole
  decay_rate: Share  # an exponent in Adafactor
  eps: NotNegative
  eps_root: NotNegative
  estim_lr0: Positive
  estim_lr_coef: Positive
  eta: NotNegative
  eta_minus: Share
  eta_plus: Annotated[float, Range(at_least=1)]
  initial_accumulator_value: NotNegative
  initial_scale: NotNegative
  max_step_size: Positive
  min_dim_size_to_factor: Whole
  min_norm: NotNegative
  min_step_size: NotNegative
  momentum: Decay
  nesterov: bool
  ns_steps: Count
  rank: Count
  rho: Decay
  trust_coefficient: Positive
  update_proj_gap: Count
  warmup_steps: Whole
  weight_decay: NotNegative
  weight_decay_rate: NotNegative
  weight_lr_power: NotNegative


def check_hyper_parameters(arguments: Mapping[str, Any], where: str) -> None:
  """Raises InputError if an argument of an optax optimizer is out of bounds.

  None, schedules and arrays pass, as do names that are not in `HyperParameters`.

  Example:
    >>> check_hyper_parameters({'b1': 2.0}, 'adam')
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: adam.b1 must be at least 0 and below 1, not 2.0
  """
  fixed = {
    name: value
    for name, value in arguments.items()
    if not (value is None or callable(value) or isinstance(value, jax.Array))
  }
  check(HyperParameters, fixed, where)

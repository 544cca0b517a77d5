"""What the outer loops carry from step to step, and what a checkpoint holds."""

from typing import NamedTuple

import jax

from l2o.types import PyTree, Theta
from l2o.unroll import InnerState


class TrainState(NamedTuple):
  """State of ordinary training."""

  step: jax.Array  # [] int32, steps done
  inner: InnerState  # params, model_state, opt_state


class MetaState(NamedTuple):
  """State of meta-training."""

  generation: jax.Array  # [] int32, generations done
  theta: Theta
  opt_state: PyTree  # of the meta-optimizer
  estimator: PyTree

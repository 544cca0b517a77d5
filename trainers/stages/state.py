"""The states that outer loops carry from step to step and save in checkpoints."""

from typing import NamedTuple

import jax

from l2o.inner.step import InnerState
from l2o.types import PyTree, Theta
from trainers.stages.reinit import Kept


class TrainState(NamedTuple):
  """State of a training job, pretraining included."""

  step: jax.Array  # [] int32, steps done
  inner: InnerState  # params, model_state, opt_state
  kept: Kept | None  # fallback of a policy of `trainers.stages.reinit`; None for 'stop'


class MetaState(NamedTuple):
  """State of meta-training."""

  generation: jax.Array  # [] int32, generations done
  theta: Theta
  opt_state: PyTree  # the meta-optimizer's state
  estimator: PyTree

"""A step of the rules with one small network for all parameters."""

from collections.abc import Callable, Sequence

import jax

from l2o.rules.per_parameter.accumulators import Sources
from l2o.rules.per_parameter.inputs import input_scales
from l2o.rules.per_parameter.mlp import MLP, apply_mlp, fenced
from l2o.rules.per_parameter.tensor_groups import Group

Inputs = Callable[[Sources], list[jax.Array]]


def normalised_output(
  group: Group,
  inputs: Inputs,
  sources: Sources,
  mlp: MLP,
  always: jax.Array,
  epsilon: float,
  magnitude: float,
  matrices: bool = False,
) -> tuple[jax.Array, Sources]:
  """The network's output on normalised inputs, out_0 exp(magnitude out_1), for each entry.

  Args:
    group: the group.
    inputs: computes the network's inputs from the sources.
    sources: from `accumulate`.
    mlp: the MLP of all slabs.
    always: [] true, but not a constant; see `fenced`.
    epsilon: ε of the normaliser; see `input_scales`.
    magnitude: see `apply_mlp`.
    matrices: see `input_scales`.

  Returns:
    [S, *slab], and the sources to use instead of the argument (see `in_blocks`).
  """
  scales, sources = input_scales(group, inputs, sources, epsilon, matrices)

  def output(sources: Sources, scales: Sequence[jax.Array], mlp: MLP) -> jax.Array:
    scaled = [x * scale for x, scale in zip(inputs(sources), scales, strict=True)]
    return apply_mlp(scaled, mlp, magnitude)

  return fenced(always, output, sources.grads, sources, scales, mlp), sources

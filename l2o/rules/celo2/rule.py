"""Celo2: a tiny perceptron's step for each entry, orthogonalised for matrices, at the user's rate.

At step t = 0, 1, … of K, for an entry of a tensor p with gradient g, momenta m, second moment v and
Adafactor's row and column moments R, C with factors ρ, κ:

    x      = g, clip(g), p, m, v, m v^-½, v^-½, g ρ κ, g v^-½ and, for matrices,
             R, C, R^-½, C^-½, m ρ κ,       normalised over the last two axes
    s      = MLP(x)
    s      = Newton-Schulz(s),              for each matrix; not in the base form
    update = -η_t (s / rms(s) + λ p)

η_t is the user's schedule, λ the user's weight decay. The rate sets how far a step goes, for any
theta. Vectors, scalars and embeddings go to AdamW at a multiple of the rate; in the base form the
network steps them too.

Source: Moudgil, Knyazev and Belilovsky, "Celo2", ICLR 2026, arXiv 2602.19142.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l2o.arguments import Count, NotNegative, Positive, checked
from l2o.errors import InputError
from l2o.rules.celo2.matrices import normalise, orthogonalise_slabs
from l2o.rules.celo2.vectors import adamw
from l2o.rules.contract import PARAMS_CALL, check_horizon, strict
from l2o.rules.per_parameter.accumulators import (
  Accumulators,
  Decays,
  Sources,
  accumulate,
  factored_means,
  init_accumulators,
)
from l2o.rules.per_parameter.inputs import BLOCKS, input_blocks
from l2o.rules.per_parameter.mlp import MLP
from l2o.rules.per_parameter.shapes import INPUT_LAYERS, celo2_shapes
from l2o.rules.per_parameter.steps import normalised_output
from l2o.rules.per_parameter.tensor_groups import (
  Group,
  by_group,
  group_tensors,
  replace_tensors,
  tensors_of,
)
from l2o.rules.per_parameter.theta import (
  descending,
  init_network,
  one_mlp,
)
from l2o.rules.released import init_from
from l2o.rules.schedules import Schedule
from l2o.rules.schedules import schedule as build_schedule
from l2o.trees import layer_norms, layer_paths
from l2o.types import Horizon, LearnedRule, Metrics, Params, PyTree, Theta

MOMENTUM_DECAYS, SECOND_DECAY, FACTORED_DECAYS = (
  np.array(decays, np.float32) for decays in ((0.9, 0.99, 0.999), 0.95, (0.9, 0.99, 0.999))
)
ADAM = list(BLOCKS).index('scaled_momenta')  # its first momentum times v^-½
VECTOR_BLOCKS = 9  # the blocks that vectors have: those before the rows and columns


class Celo2State(NamedTuple):
  """State of a bound Celo2: four times the size of the network's tensors, twice that of AdamW's."""

  step: jax.Array  # [] int32, steps done
  step_norm: jax.Array  # [layers] float32, L2 norms of the last update, for diagnostics
  accumulators: tuple[Accumulators, ...]  # for each group of the network's tensors
  adamw: PyTree  # AdamW's state for a list of the other tensors, float32


class _Spec(NamedTuple):
  name: str
  learning_rate: float
  schedule: Schedule
  weight_decay: float
  hidden_size: int
  descends: bool
  orthogonal: bool  # and vectors go to AdamW
  adamw_rate: float = 1.0
  embeddings: re.Pattern[str] = re.compile('')
  bias_correction: bool = True


class _Part(NamedTuple):
  """Positions of each part's tensors in the list of all."""

  learned: list[int]
  adamw: list[int]


@checked
def celo2(
  learning_rate: Positive = 1e-3,
  schedule: str | Mapping[str, Any] = 'constant',
  weight_decay: NotNegative = 0.0,
  adamw_rate: Positive = 20.0,
  embeddings: str = '(?i)embed',
  bias_correction: bool = True,
  hidden_size: Count = 8,
  descends: bool = False,
  weights: str = '',
) -> LearnedRule:
  """Celo2 in the form released for use; the formula is in the module's docstring.

  The rule does not need the loss. Gradients beyond ±1000 are clipped for the network, not for
  AdamW. Each tensor is updated independently; a non-finite gradient corrupts the state of its
  tensor for good.

  Args:
    learning_rate: η, before the schedule: the root mean square of a matrix's step.
    schedule: a name in `l2o.rules.schedules`, or a block with its arguments.
    weight_decay: λ, decoupled.
    adamw_rate: AdamW's learning rate, as a multiple of η; the default is that of meta-training.
    embeddings: regular expression; layers whose path contains a match go to AdamW.
    bias_correction: False for AdamW without it, as in meta-training.
    hidden_size: units in each hidden layer.
    descends: whether the initial theta descends along Adam's direction; otherwise the network is
      random, as in the paper.
    weights: a file of released weights to start from, see `l2o.rules.released`; it sets the size.

  Returns:
    A rule with theta = `celo2_shapes(hidden_size)` of `per_parameter.shapes`.

  Raises:
    InputError: a number out of bounds, no such schedule, an invalid expression; at `init`,
      weights of another rule.

  Example:
    >>> params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> rule = celo2(learning_rate=0.01, schedule='cosine', weight_decay=0.1)
    >>> tx = rule.bind(rule.init(jax.random.key(0), params), num_steps=10)
    >>> updates, state = jax.jit(tx.update)(params, tx.init(params), params)
    >>> rule.diagnostics(state)['step_norm'].shape
    (2,)
  """
  spec = _Spec(
    'celo2',
    learning_rate,
    build_schedule(schedule),
    weight_decay,
    hidden_size,
    descends,
    orthogonal=True,
    adamw_rate=adamw_rate,
    embeddings=_expression(embeddings),
    bias_correction=bias_correction,
  )
  return _rule(spec, weights)


@checked
def celo2_base(
  learning_rate: Positive = 1e-3,
  schedule: str | Mapping[str, Any] = 'constant',
  weight_decay: NotNegative = 0.0,
  hidden_size: Count = 8,
  descends: bool = False,
  weights: str = '',
) -> LearnedRule:
  """Celo2's base form: the network steps every tensor, and nothing is orthogonalised.

  Arguments, theta and caveats are as in `celo2`; every tensor's step has a root mean square of η.

  Raises:
    InputError: as in `celo2`.

  Example:
    >>> params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.array([0.5, -2.0])}
    >>> rule = celo2_base(learning_rate=0.01)
    >>> tx = rule.bind(rule.init(jax.random.key(0), params), num_steps=10)
    >>> updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    >>> round(float(jnp.sqrt(jnp.mean(updates['bias'] ** 2))), 4)
    0.01
  """
  shape = build_schedule(schedule)
  spec = _Spec('celo2_base', learning_rate, shape, weight_decay, hidden_size, descends, False)
  return _rule(spec, weights)


def _expression(embeddings: str) -> re.Pattern[str]:
  try:
    return re.compile(embeddings)
  except re.error as error:
    raise InputError(
      f'celo2: embeddings must be a regular expression, not {embeddings!r} ({error})'
    ) from error


def _rule(spec: _Spec, weights: str) -> LearnedRule:
  init = init_from(weights, 'celo2') if weights else partial(_init_theta, spec)
  return LearnedRule(init, partial(_bind, spec), _diagnostics)


def _init_theta(spec: _Spec, key: jax.Array, params: Params) -> Theta:
  del params  # theta fits any parameters
  theta = init_network(key, celo2_shapes(spec.hidden_size))
  if spec.descends:
    network, names = theta['ff_mod_stack']['~'], (INPUT_LAYERS[ADAM], 'w1', 'w2')
    weights = descending([network[name] for name in names], 0, 1.0)
    network |= dict(zip(names, weights, strict=True))
  return theta


def _diagnostics(state: Celo2State) -> Metrics:
  return {'step_norm': state.step_norm}


def _bind(spec: _Spec, theta: Theta, num_steps: Horizon) -> optax.GradientTransformationExtraArgs:
  check_horizon(spec.name, num_steps)
  theta = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), theta)
  vectors = adamw(spec.weight_decay, spec.bias_correction)

  def init(params: Params) -> Celo2State:
    part = _part(spec, params)
    tensors = tensors_of(params)
    return Celo2State(
      step=jnp.zeros((), jnp.int32),
      step_norm=jnp.zeros((len(jax.tree.leaves(params)),)),
      accumulators=tuple(init_accumulators(group) for group in _groups(part, tensors)),
      adamw=vectors.init([tensors[i].astype(jnp.float32) for i in part.adamw]),
    )

  def update(
    grads: PyTree, state: Celo2State, params: Params, **extra: Any
  ) -> tuple[PyTree, Celo2State]:
    del extra
    part = _part(spec, params)
    tensors, tensor_grads = tensors_of(params), tensors_of(grads)
    rate = spec.learning_rate * spec.schedule(state.step, num_steps)
    learned, accumulators = by_group(
      _groups(part, tensors),
      [tensor_grads[i] for i in part.learned],
      [tensors[i] for i in part.learned],
      state.accumulators,
      partial(_group_step, spec, theta, rate, state.step >= 0),
    )
    wide = ([x[i].astype(jnp.float32) for i in part.adamw] for x in (tensor_grads, tensors))
    directions, moments = vectors.update(next(wide), state.adamw, next(wide))
    steps = dict(zip(part.learned, learned, strict=True))
    for i, direction in zip(part.adamw, jax.tree.leaves(directions), strict=True):
      steps[i] = (-spec.adamw_rate * rate * direction).astype(tensors[i].dtype)
    updates = replace_tensors(params, [steps[i] for i in range(len(tensors))])
    return updates, Celo2State(state.step + 1, layer_norms(updates), accumulators, moments)

  return strict(spec.name, init, update, PARAMS_CALL)


def _part(spec: _Spec, params: Params) -> _Part:
  """Which tensors are the network's, and which AdamW's."""
  pairs = zip(layer_paths(params), jax.tree.leaves(params), strict=True)
  vectors = [
    spec.orthogonal and (x.ndim < 2 or bool(spec.embeddings.search(path)))
    for path, x in pairs
    if x.size
  ]
  return _Part(
    [i for i, is_vector in enumerate(vectors) if not is_vector],
    [i for i, is_vector in enumerate(vectors) if is_vector],
  )


def _groups(part: _Part, tensors: list[Any]) -> tuple[Group, ...]:
  return group_tensors([tensors[i].shape for i in part.learned], matrices=True)


def _inputs(sources: Sources) -> list[jax.Array]:
  blocks = list(input_blocks(sources, epsilon=1e-8).values())
  return [
    x for block in blocks[: VECTOR_BLOCKS if sources.factors is None else None] for x in block
  ]


def _network(theta: Theta, group: Group) -> MLP:
  layers = theta['ff_mod_stack']['~']
  names = INPUT_LAYERS[: None if group.slab else VECTOR_BLOCKS]
  w0 = jnp.concatenate([layers[name] for name in names])
  return one_mlp(w0, *(layers[name] for name in MLP._fields[1:]))


def _group_step(
  spec: _Spec,
  theta: Theta,
  rate: jax.Array,
  always: jax.Array,
  group: Group,
  grads: jax.Array,
  params: jax.Array,
  acc: Accumulators,
) -> tuple[jax.Array, Accumulators]:
  grads = jnp.clip(grads, -1000.0, 1000.0)
  decays = Decays(tuple(MOMENTUM_DECAYS), SECOND_DECAY, jnp.asarray(FACTORED_DECAYS))
  sources = accumulate(acc, grads, params, *factored_means(jnp.square(grads)), decays)
  steps, sources = normalised_output(
    group,
    _inputs,
    sources,
    _network(theta, group),
    always,
    epsilon=1e-9,
    magnitude=0.0,
    matrices=True,
  )
  if spec.orthogonal and group.slab:
    steps = orthogonalise_slabs(group, steps)
  steps = normalise(group, steps)
  return -rate * (steps + spec.weight_decay * sources.params), sources.acc

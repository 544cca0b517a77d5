"""MLPLOpt: one perceptron for all parameters, fed momenta on six time scales.

At step t = 0, 1, …, for an entry of a tensor p with gradient g:

    m_d    = d m_d + (1 - d) g,                 d = .1 .5 .9 .99 .999 .9999
    x      = g, p and the six m_d, each divided by its root mean square over the tensor
    a, b   = MLP(x, time),                      time = tanh(t/s - 1), s = 1 3 10 … 1e5
    update = -0.001 a exp(0.001 b)

Source: Metz et al., "Understanding and correcting pathologies in the training of learned
optimizers", arXiv 1810.10180.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l2o.arguments import Count, NotNegative, checked
from l2o.rules.contract import PARAMS_CALL, check_horizon, strict
from l2o.rules.per_parameter.accumulators import average
from l2o.rules.per_parameter.blocks import in_blocks
from l2o.rules.per_parameter.inputs import input_scales
from l2o.rules.per_parameter.shapes import mlp_lopt_shapes
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
  with_time,
)
from l2o.rules.released import init_from
from l2o.trees import layer_norms
from l2o.types import Horizon, LearnedRule, Metrics, Params, PyTree, Theta

DECAYS = np.array([0.1, 0.5, 0.9, 0.99, 0.999, 0.9999], np.float32)
STEP = MAGNITUDE = 0.001
DESCENT = 2 + 2  # index among the inputs: the momentum of decay 0.9
CHUNK = 2**14  # entries that go through the hidden layers at a time

Momenta = tuple[jax.Array, ...]


class MLPLOptState(NamedTuple):
  """State of a bound MLPLOpt: six times the parameters' size."""

  step: jax.Array  # [] int32, steps done
  step_norm: jax.Array  # [layers] float32, L2 norms of the last update, for diagnostics
  momenta: tuple[Momenta, ...]  # for each group of `group_tensors`: 6 x [S, *slab] float32


@checked
def mlp_lopt(
  hidden_size: Count = 32, initial_step: NotNegative = 0.0, weights: str = ''
) -> LearnedRule:
  """MLPLOpt; the formula is in the module's docstring.

  The rule needs neither the loss nor the horizon. Each tensor is updated independently; a
  non-finite gradient corrupts the state of its tensor for good.

  Args:
    hidden_size: units in each hidden layer.
    initial_step: if above 0, the initial theta descends along the momentum of decay 0.9 in steps
      whose root mean square is about this; at 0 the network is random, as in the paper.
    weights: a file of released weights to start from, see `l2o.rules.released`; it sets the size.

  Returns:
    A rule with theta = `mlp_lopt_shapes(hidden_size)` of `per_parameter.shapes`.

  Raises:
    InputError: a number out of bounds; at `init`, weights of another rule.

  Example:
    >>> params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> rule = mlp_lopt(hidden_size=4)
    >>> tx = rule.bind(rule.init(jax.random.key(0), params), num_steps=10)
    >>> updates, state = tx.update(params, tx.init(params), params)
    >>> rule.diagnostics(state)['step_norm'].shape
    (2,)
  """
  init = partial(_init_theta, hidden_size, initial_step)
  return LearnedRule(init_from(weights, 'mlp_lopt') if weights else init, _bind, _diagnostics)


def _init_theta(hidden_size: int, initial_step: float, key: jax.Array, params: Params) -> Theta:
  del params  # theta fits any parameters
  theta = init_network(key, mlp_lopt_shapes(hidden_size))
  if initial_step:
    layers = [theta['mlp']['~'][f'linear_{i}'] for i in range(3)]
    weights = descending([layer['w'] for layer in layers], DESCENT, initial_step / STEP)
    for layer, w in zip(layers, weights, strict=True):
      layer['w'] = w
  return theta


def _diagnostics(state: MLPLOptState) -> Metrics:
  return {'step_norm': state.step_norm}


def _bind(theta: Theta, num_steps: Horizon) -> optax.GradientTransformationExtraArgs:
  check_horizon('mlp_lopt', num_steps)
  theta = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), theta)

  def init(params: Params) -> MLPLOptState:
    return MLPLOptState(
      step=jnp.zeros((), jnp.int32),
      step_norm=jnp.zeros((len(jax.tree.leaves(params)),)),
      momenta=tuple(tuple(jnp.zeros(group.shape) for _ in DECAYS) for group in _groups(params)),
    )

  def update(
    grads: PyTree, state: MLPLOptState, params: Params, **extra: object
  ) -> tuple[PyTree, MLPLOptState]:
    del extra
    layers = [theta['mlp']['~'][f'linear_{i}'] for i in range(3)]
    w0, b0 = with_time(layers[0]['w'], layers[0]['b'], state.step)
    network = [(w0, b0), *((layer['w'], layer['b']) for layer in layers[1:])]
    steps, momenta = by_group(
      _groups(params),
      tensors_of(grads),
      tensors_of(params),
      state.momenta,
      partial(_group_step, network),
    )
    updates = replace_tensors(params, steps)
    return updates, MLPLOptState(state.step + 1, layer_norms(updates), momenta)

  return strict('mlp_lopt', init, update, PARAMS_CALL)


def _groups(params: Params) -> tuple[Group, ...]:
  return group_tensors([x.shape for x in tensors_of(params)])


def _group_step(
  network: list[tuple[jax.Array, jax.Array]],
  group: Group,
  grads: jax.Array,
  params: jax.Array,
  momenta: Momenta,
) -> tuple[jax.Array, Momenta]:
  momenta = tuple(average(d, m, grads) for d, m in zip(DECAYS, momenta, strict=True))
  scales, sources = input_scales(group, list, (grads, params, *momenta), epsilon=1e-5)
  table = jnp.stack([scale.reshape(-1) for scale in scales])  # [8, S]

  def output(start: jax.Array, *inputs: jax.Array) -> jax.Array:
    slabs = (start + jnp.arange(inputs[0].size)) // math.prod(group.slab)
    # Channels first: products with a long last axis keep a CPU's vector lanes busy.
    x = jnp.stack(inputs) * table[:, slabs]
    for w, b in network[:-1]:
      x = jax.nn.relu(w.T @ x + b[:, None])
    a, b = network[-1][0].T @ x + network[-1][1][:, None]
    return -STEP * a * jnp.exp(MAGNITUDE * b)

  flat = tuple(x.reshape(-1) for x in sources)
  with jax.default_matmul_precision('highest'):
    flat, steps = in_blocks(output, flat, min(CHUNK, grads.size))
  return steps.reshape(group.shape), tuple(x.reshape(group.shape) for x in flat[2:])

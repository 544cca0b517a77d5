"""AdafacMLPLOpt: one tiny perceptron for all parameters, fed Adam's and Adafactor's averages.

At step t = 0, 1, …, for an entry of a tensor p with gradient g, momenta m, second moment v and
Adafactor's row and column moments R, C with factors ρ, κ:

    x      = g, p, m, v, m v^-½, v^-½, g ρ κ, R, C, R^-½, C^-½, m ρ κ, normalised over the tensor
    a, b   = MLP(x, time),                      time = tanh(t/s - 1), s = 1 3 10 … 1e5
    update = -0.001 a exp(0.001 b)

The averages' decays are meta-learned too: d = 1 - (1 - d_0) exp(10 o) with offsets o.

Source: Metz et al., "Practical tradeoffs between memory, compute, and performance in learned
optimizers", arXiv 2203.11860.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l2o.arguments import Count, NotNegative, checked
from l2o.rules.contract import PARAMS_CALL, check_horizon, strict
from l2o.rules.per_parameter.accumulators import (
  Accumulators,
  Decays,
  Sources,
  accumulate,
  factored_means,
  init_accumulators,
)
from l2o.rules.per_parameter.inputs import input_blocks
from l2o.rules.per_parameter.mlp import MLP
from l2o.rules.per_parameter.shapes import WITHOUT_CLIPPING, adafac_mlp_lopt_shapes
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
  with_time,
)
from l2o.rules.released import init_from
from l2o.trees import layer_norms
from l2o.types import Horizon, LearnedRule, Metrics, Params, PyTree, Theta

INITIAL_DECAYS = {
  'momentum_decays': (0.9, 0.99, 0.999),
  'rms_decays': (0.999,),
  'adafactor_decays': (0.9, 0.99, 0.999),
}
STEP = MAGNITUDE = 0.001
DESCENT = 6  # index among the inputs: the momentum of decay 0.9 times v^-½


class AdafacMLPLOptState(NamedTuple):
  """State of a bound AdafacMLPLOpt: four times the parameters' size, plus rows and columns."""

  step: jax.Array  # [] int32, steps done
  step_norm: jax.Array  # [layers] float32, L2 norms of the last update, for diagnostics
  accumulators: tuple[Accumulators, ...]  # for each group of `group_tensors`


@checked
def adafac_mlp_lopt(
  hidden_size: Count = 4, initial_step: NotNegative = 0.0, weights: str = ''
) -> LearnedRule:
  """AdafacMLPLOpt; the formula is in the module's docstring.

  The rule needs neither the loss nor the horizon. Each tensor is updated independently; a
  non-finite gradient corrupts the state of its tensor for good.

  Args:
    hidden_size: units in each hidden layer.
    initial_step: if above 0, the initial theta descends along Adam's direction in steps whose root
      mean square is about this; at 0 the network is random, as in the paper.
    weights: a file of released weights to start from, see `l2o.rules.released`; it sets the size.

  Returns:
    A rule with theta = `adafac_mlp_lopt_shapes(hidden_size)` of `per_parameter.shapes`.

  Raises:
    InputError: a number out of bounds; at `init`, weights of another rule.

  Example:
    >>> params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> rule = adafac_mlp_lopt()
    >>> tx = rule.bind(rule.init(jax.random.key(0), params), num_steps=10)
    >>> updates, state = jax.jit(tx.update)(params, tx.init(params), params)
    >>> rule.diagnostics(state)['step_norm'].shape
    (2,)
  """
  init = partial(_init_theta, hidden_size, initial_step)
  start = init_from(weights, 'adafac_mlp_lopt') if weights else init
  return LearnedRule(start, _bind, _diagnostics)


def _init_theta(hidden_size: int, initial_step: float, key: jax.Array, params: Params) -> Theta:
  del params  # theta fits any parameters
  theta = init_network(key, adafac_mlp_lopt_shapes(hidden_size))
  if initial_step:
    network, names = theta['nn']['~'], ('w0', 'w1', 'w2')
    weights = descending([network[name] for name in names], DESCENT, initial_step / STEP)
    network |= dict(zip(names, weights, strict=True))
  return theta


def _diagnostics(state: AdafacMLPLOptState) -> Metrics:
  return {'step_norm': state.step_norm}


def _bind(theta: Theta, num_steps: Horizon) -> optax.GradientTransformationExtraArgs:
  check_horizon('adafac_mlp_lopt', num_steps)
  theta = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), theta)

  def init(params: Params) -> AdafacMLPLOptState:
    return AdafacMLPLOptState(
      step=jnp.zeros((), jnp.int32),
      step_norm=jnp.zeros((len(jax.tree.leaves(params)),)),
      accumulators=tuple(init_accumulators(group) for group in _groups(params)),
    )

  def update(
    grads: PyTree, state: AdafacMLPLOptState, params: Params, **extra: object
  ) -> tuple[PyTree, AdafacMLPLOptState]:
    del extra
    layers = dict(theta['nn']['~'])
    with jax.default_matmul_precision('highest'):
      layers['w0'], layers['b0'] = with_time(layers['w0'], layers['b0'], state.step)
    mlp = one_mlp(*(layers[name] for name in MLP._fields))
    steps, accumulators = by_group(
      _groups(params),
      tensors_of(grads),
      tensors_of(params),
      state.accumulators,
      partial(_group_step, mlp, _decays(theta), state.step >= 0),
    )
    updates = replace_tensors(params, steps)
    return updates, AdafacMLPLOptState(state.step + 1, layer_norms(updates), accumulators)

  return strict('adafac_mlp_lopt', init, update, PARAMS_CALL)


def _decays(theta: Theta) -> Decays:
  """The momenta's decays are not clipped, as in the released code, and may be negative."""
  momenta, second, factored = (
    1.0 - jnp.exp(10.0 * (jnp.log(1.0 - np.array(decays, np.float32)) / 10.0 + theta[name]))
    for name, decays in INITIAL_DECAYS.items()
  )
  return Decays(tuple(momenta), jnp.clip(second[0], 0.0, 1.0), jnp.clip(factored, 0.0, 1.0))


def _groups(params: Params) -> tuple[Group, ...]:
  return group_tensors([x.shape for x in tensors_of(params)])


def _inputs(sources: Sources) -> list[jax.Array]:
  blocks = input_blocks(sources, epsilon=1e-6, vector_epsilon=1e-6)
  return [x for name in WITHOUT_CLIPPING for x in blocks[name]]


def _group_step(
  mlp: MLP,
  decays: Decays,
  always: jax.Array,
  group: Group,
  grads: jax.Array,
  params: jax.Array,
  acc: Accumulators,
) -> tuple[jax.Array, Accumulators]:
  sources = accumulate(acc, grads, params, *factored_means(jnp.square(grads)), decays)
  out, sources = normalised_output(
    group, _inputs, sources, mlp, always, epsilon=1e-5, magnitude=MAGNITUDE
  )
  return -STEP * out, sources.acc

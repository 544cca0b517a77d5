"""VeLO and its variant Celo: learned optimizers with a per-tensor and a per-parameter network.

With t = 0, 1, … of K steps, for a tensor p with gradient g and the running loss:

    h, c  = LSTM(features of the tensor, the time and the loss; h, c),  mixed across tensors
    W     = c mean_n controls_n(h) W_n,     the tensor's MLP from a bank of N
    out   = MLP_W(30 inputs),               for each entry: g, p, momenta, Adam's and Adafactor's
    update = -0.001 lr_mult(h) sqrt(mean p² + 1e-9) out_0 exp(0.001 out_1)

`network` has the first two lines, `mlp` the third.

Sources: Metz et al., "VeLO: Training Versatile Learned Optimizers by Scaling Up", arXiv 2211.09760;
Moudgil et al., "Celo: Training Versatile Learned Optimizers on a Compute Diet", arXiv 2501.12670.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l2o.arguments import Count, NotNegative, Positive, checked
from l2o.errors import InputError
from l2o.rules.contract import CALL, check_horizon, strict
from l2o.rules.per_parameter.accumulators import Accumulators, Sources, init_accumulators
from l2o.rules.per_parameter.mlp import MLP, apply_mlp, fenced
from l2o.rules.per_parameter.shapes import VELO_FEATURES
from l2o.rules.per_parameter.tensor_groups import (
  Group,
  group_tensors,
  join,
  leaf_order,
  replace_tensors,
  split,
  spread,
  tensor_means,
  tensors_of,
)
from l2o.rules.released import init_from
from l2o.rules.velo.mlp import (
  Means,
  Moments,
  add_gradient,
  first_look,
  mlp_inputs,
  moments_and_scales,
  next_means,
)
from l2o.rules.velo.network import (
  LSTM,
  RANKS,
  LossBuffer,
  init_loss_buffer,
  init_lstm,
  init_theta,
  log_magnitude,
  read_out,
  run_lstm,
  time_features,
  update_loss_buffer,
)
from l2o.types import Horizon, LearnedRule, Metrics, Params, PyTree, Theta


class VeLOState(NamedTuple):
  """State of a bound VeLO or Celo. T tensors, in the order of the tree's leaves."""

  step: jax.Array  # [] int32, steps done
  loss: LossBuffer
  lstm: LSTM  # [T, H]
  lr_mult: jax.Array  # [T] float32, of the last step, for diagnostics
  moments: Moments  # [T, 4], of the accumulators, input to the next step's LSTM
  accumulators: tuple[Accumulators, ...]  # for each group of `group_tensors`


class _Spec(NamedTuple):
  name: str
  lstm_width: int
  bank_size: int
  interpolation: float
  weight_decay: float
  max_steps: int
  initial_step: float


class _Unchecked(NamedTuple):
  """A transformation before `strict`; its `update` needs the parameters and the loss."""

  init: Callable[[Params], PyTree]
  update: Callable[..., tuple[PyTree, PyTree]]


@checked
def velo(
  lstm_width: Count = 512,
  bank_size: Count = 256,
  interpolation: Positive = 100.0,
  weight_decay: NotNegative = 0.0,
  max_steps: Count = 150_000,
  initial_step: NotNegative = 0.0,
  weights: str = '',
) -> LearnedRule:
  """VeLO; the formula is in the module's docstring, the defaults are the released optimizer's.

  The released weights were meta-trained on up to 150,000 steps. If K is longer, and is concrete,
  gradients and losses are averaged over n = ceil(K / max_steps) steps per update, with a horizon of
  ceil(K / n); the updates in between are zero. A traced K is used as is: accumulation changes what
  the state holds, so it cannot depend on a traced value.

  Gradients beyond ±1000 are clipped. The rule needs the loss, positive and comparable from step to
  step. Non-finite gradients or losses corrupt the state of all tensors: use `optax.apply_if_finite`
  where they may occur.

  Args:
    lstm_width: H, units of the LSTM.
    bank_size: N, the number of MLPs that each tensor's is mixed from.
    interpolation: factor c on the mixture.
    weight_decay: multiple of the parameters that is added to the gradients.
    max_steps: longest horizon without accumulation, in steps.
    initial_step: if above 0, the initial theta descends in the direction of Adam without momentum,
      with steps whose norm is about this fraction of the parameters'; at 0 its MLPs are random.
    weights: a file of released weights to start from, see `load_theta`; it sets the widths.

  Returns:
    A rule with theta = `velo_shapes(30, H, N)` of `per_parameter.shapes`, the tree of the released
    weights: see `load_theta`. `init` draws it (ours).

  Raises:
    InputError: a number out of bounds; at `init`, weights that are not VeLO's; at `bind`, a theta
      with another number of features, such as Celo's.

  Example:
    >>> params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> rule = velo(lstm_width=8, bank_size=4)
    >>> tx = rule.bind(rule.init(jax.random.key(0), params), num_steps=10)
    >>> updates, state = jax.jit(tx.update)(params, tx.init(params), params, value=0.7)
    >>> rule.diagnostics(state)['lr_mult'].shape
    (2,)
  """
  spec = _Spec('velo', lstm_width, bank_size, interpolation, weight_decay, max_steps, initial_step)
  return _rule(spec, weights)


@checked
def celo(
  lstm_width: Count = 64,
  bank_size: Count = 1,
  interpolation: Positive = 1.0,
  weight_decay: NotNegative = 0.0,
  max_steps: Count = 150_000,
  initial_step: NotNegative = 0.0,
  weights: str = '',
) -> LearnedRule:
  """Celo: VeLO whose LSTM sees only time and loss, with lr_mult = 0.1 exp(step).

  The controls go through a softmax. Arguments, horizon and caveats are as in `velo`; the defaults
  are the released optimizer's.

  Returns:
    A rule with theta = `velo_shapes(18, H, N)` of `per_parameter.shapes`.

  Raises:
    InputError: as in `velo`, with the roles of the two rules swapped.

  Example:
    >>> params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> rule = celo(lstm_width=8)
    >>> tx = rule.bind(rule.init(jax.random.key(0), params), num_steps=10)
    >>> updates, state = jax.jit(tx.update)(params, tx.init(params), params, value=0.7)
    >>> rule.diagnostics(state)['lr_mult']
    Array([0.27182817, 0.27182817], dtype=float32)
  """
  spec = _Spec('celo', lstm_width, bank_size, interpolation, weight_decay, max_steps, initial_step)
  return _rule(spec, weights)


def _rule(spec: _Spec, weights: str) -> LearnedRule:
  init = init_from(weights, spec.name) if weights else partial(_init_theta, spec)
  return LearnedRule(init, partial(_bind, spec), _diagnostics)


def _init_theta(spec: _Spec, key: jax.Array, params: Params) -> Theta:
  del params  # theta fits any parameters
  # Controls start at 1, or at 1/N after a softmax; lr_mult at 1, or at e/10.
  is_celo = spec.name == 'celo'
  mixing = spec.interpolation / (spec.bank_size if is_celo else 1)
  descent = spec.initial_step / (0.0001 * math.e if is_celo else 0.001)
  features = VELO_FEATURES[spec.name]
  return init_theta(key, features, spec.lstm_width, spec.bank_size, mixing, descent)


def _diagnostics(state: Any) -> Metrics:
  state = state.inner_opt_state if isinstance(state, optax.MultiStepsState) else state
  return {'lr_mult': state.lr_mult}


def _bind(spec: _Spec, theta: Theta, num_steps: Horizon) -> optax.GradientTransformationExtraArgs:
  features = np.shape(theta['rnn_params']['linear']['w'])[-2]
  if features != VELO_FEATURES[spec.name]:
    raise InputError(
      f'{spec.name} has {VELO_FEATURES[spec.name]} features per tensor, but this theta was '
      f'meta-trained with {features}'
    )
  check_horizon(spec.name, num_steps)
  every = 1 if isinstance(num_steps, jax.core.Tracer) else -(-int(num_steps) // spec.max_steps)
  if every > 1:
    tx = _accumulating(_transformation(spec, theta, -(-int(num_steps) // every)), every)
  else:
    tx = _transformation(spec, theta, num_steps)
  return strict(spec.name, tx.init, tx.update, CALL)


def _transformation(spec: _Spec, theta: Theta, num_steps: Horizon) -> _Unchecked:
  theta = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), theta)

  def init(params: Params) -> VeLOState:
    tensors = tensors_of(params)
    T = len(tensors)
    return VeLOState(
      step=jnp.zeros((), jnp.int32),
      loss=init_loss_buffer(),
      lstm=init_lstm(theta, T),
      lr_mult=jnp.zeros((T,)),
      moments=Moments(jnp.zeros((T, 4)), jnp.zeros((T, 4))),
      accumulators=tuple(init_accumulators(group) for group in _groups(tensors)),
    )

  def update(
    grads: PyTree, state: VeLOState, params: Params, *, value: Any, **extra: Any
  ) -> tuple[PyTree, VeLOState]:
    del extra
    loss, loss_features = update_loss_buffer(state.loss, value, state.step, num_steps)
    clock = jnp.concatenate([time_features(state.step, num_steps), loss_features])
    state = state._replace(loss=loss)
    tensors = tensors_of(params)
    if not tensors:
      return grads, state._replace(step=state.step + 1)
    groups = _groups(tensors)
    wide = [join(group, tensors) for group in groups]
    pairs = zip(tensors_of(grads), tensors, strict=True)
    clipped = [_clip(g, p, spec.weight_decay) for g, p in pairs]
    wide_grads = [join(group, clipped) for group in groups]
    looks = [first_look(g, p) for g, p in zip(wide_grads, wide, strict=True)]
    p_square = leaf_order(
      groups,
      [tensor_means(group, means.param) for group, (*_, means) in zip(groups, looks, strict=True)],
    )
    with jax.default_matmul_precision('highest'):
      features = _features(spec, tensors, clock, state.moments, p_square)
      lstm = run_lstm(theta, features, state.lstm)
      lr_mult, mlp = read_out(theta, lstm.hidden, spec.interpolation, spec.name == 'celo')
    step_size = lr_mult * 0.001 * jnp.sqrt(p_square + 1e-9)
    parts: dict[int, jax.Array] = {}
    moments, accumulators = [], []
    for group, look, acc in zip(groups, looks, state.accumulators, strict=True):
      rows = np.array(group.tensors)
      old, own_mlp, size = jax.tree.map(
        lambda x, rows=rows: x[rows], (state.moments.mean, mlp, step_size)
      )
      joined, moment, acc = _group_step(group, *look, acc, old, own_mlp, size, state.step >= 0)
      parts |= split(group, joined, tensors)
      moments.append(moment)
      accumulators.append(acc)
    updates = replace_tensors(params, [parts[i] for i in range(len(tensors))])
    moments = jax.tree.map(lambda *x: leaf_order(groups, x), *moments)
    return updates, VeLOState(state.step + 1, loss, lstm, lr_mult, moments, tuple(accumulators))

  return _Unchecked(init, update)


def _group_step(
  group: Group,
  grads: jax.Array,
  params: jax.Array,
  means: Means,
  acc: Accumulators,
  old: jax.Array,
  mlp: MLP,
  step_size: jax.Array,
  always: jax.Array,
) -> tuple[jax.Array, Moments, Accumulators]:
  """The updates of a group's tensors, joined, and what the next step needs."""
  sources = add_gradient(acc, grads, params, means)
  moments, scales, sources = moments_and_scales(group, sources, next_means(group, old, means))
  mlp = mlp._replace(
    w0=scales[:, :, None] * mlp.w0,
    w2=mlp.w2.at[:, :, 0].multiply(-step_size[:, None]),
    b2=mlp.b2.at[:, 0].multiply(-step_size),
  )
  per_slab = jax.tree.map(lambda w: spread(group, w), mlp)

  def output(sources: Sources, mlp: MLP) -> jax.Array:
    return apply_mlp(mlp_inputs(sources), mlp)

  return fenced(always, output, sources.grads, sources, per_slab), moments, sources.acc


def _features(
  spec: _Spec, tensors: Sequence[Any], clock: jax.Array, moments: Moments, p_square: jax.Array
) -> jax.Array:
  """The LSTM's input for each tensor: [T, F]."""
  everywhere = jnp.broadcast_to(clock, (len(tensors), clock.size))
  if spec.name == 'celo':
    return everywhere
  scale = jax.lax.rsqrt(jnp.maximum(1e-9, p_square))[:, None]
  m_mean, v_mean = moments.mean[:, :3], moments.mean[:, 3:]
  # The released optimizer takes the second moment's spread around the momenta's means.
  v_var = moments.var[:, 3:] + jnp.square(v_mean - m_mean)
  axes = np.array([sum(length > 1 for length in x.shape) for x in tensors])
  return jnp.concatenate(
    [
      everywhere,
      log_magnitude(scale * v_mean),
      jax.nn.one_hot(axes, RANKS),
      log_magnitude(jnp.square(scale) * moments.var[:, :3]),
      log_magnitude(jnp.square(scale) * v_var),
    ],
    axis=1,
  )


def _clip(grads: jax.Array, params: jax.Array, weight_decay: float) -> jax.Array:
  grads = grads.astype(jnp.float32)
  if weight_decay:
    grads += weight_decay * params.astype(jnp.float32)
  return jnp.clip(grads, -1000.0, 1000.0)


def _groups(tensors: Sequence[Any]) -> tuple[Group, ...]:
  return group_tensors([x.shape for x in tensors])


def _accumulating(tx: _Unchecked, every: int) -> _Unchecked:
  """Averages gradients and losses over `every` steps for one update of `tx`."""

  def update_pair(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
    grads, loss = updates
    steps, state = tx.update(grads, state, params[0], value=loss)
    return (steps, jnp.zeros_like(loss)), state

  # The loss travels with the gradients, so that it is averaged along with them.
  inner = optax.GradientTransformation(lambda params: tx.init(params[0]), update_pair)
  multi = optax.MultiSteps(inner, every)

  def init(params: Params) -> optax.MultiStepsState:
    return multi.init((params, jnp.zeros(())))

  def update(
    grads: PyTree, state: optax.MultiStepsState, params: Params, *, value: Any, **extra: Any
  ) -> tuple[PyTree, optax.MultiStepsState]:
    del extra
    pair: PyTree = (grads, jnp.asarray(value, jnp.float32))
    pair, state = multi.update(pair, state, (params, jnp.zeros(())))
    return pair[0], state

  return _Unchecked(init, update)

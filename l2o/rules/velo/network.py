"""VeLO's per-tensor network: an LSTM that sets each tensor's learning rate and mixes its MLP.

One row per tensor: T tensors, F features, LSTM width H, a bank of N MLPs. Sources: Metz et al.,
"VeLO: Training Versatile Learned Optimizers by Scaling Up", arXiv 2211.09760, and Moudgil et al.,
"Celo: Training Versatile Learned Optimizers on a Compute Diet", arXiv 2501.12670. The names in
theta are those of the released weights.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from l2o.rules.per_parameter.inputs import BLOCKS
from l2o.rules.per_parameter.mlp import MLP, with_descent
from l2o.rules.per_parameter.shapes import velo_shapes
from l2o.types import Horizon, Theta

TIMES = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)  # fractions of K where a time feature is 0
LOSS_DECAYS = 10
UNSEEN = 999999999999.0  # the running minimum before the first loss
CLOCK = (
  len(TIMES) + LOSS_DECAYS - 1
)  # features that all tensors share; Celo has no others, VeLO 12 more
RANKS = 5
ADAM = f'w0__{list(BLOCKS).index("scaled_grad")}'  # the weights of g / sqrt(v + 1e-6)


class LossBuffer(NamedTuple):
  """Moving averages of the loss on ten time scales, log-spaced from 10 steps to K."""

  means: jax.Array  # [10] float32, not bias-corrected
  running_min: jax.Array  # [10] float32, of the bias-corrected averages


class LSTM(NamedTuple):
  """The LSTM's state for each tensor."""

  hidden: jax.Array  # [T, H] float32
  cell: jax.Array  # [T, H] float32


def init_theta(
  key: jax.Array,
  num_features: int,
  lstm_width: int,
  bank_size: int,
  mixing: float,
  descent: float = 0.0,
) -> Theta:
  """Random meta-parameters to meta-train from (ours).

  Normal weights of standard deviation 1/sqrt(fan-in), zero biases and LSTM states, `step_size` at 0
  except for its bias of 1. The bank is scaled so that an MLP mixed with equal controls has such
  weights too. With `descent`, the bank's weights are a tenth of that, plus those of an MLP that
  computes out_0 = descent x, with x the normalised g / sqrt(v + 1e-6).

  Args:
    key: key for the draw.
    num_features: F.
    lstm_width: H.
    bank_size: N.
    mixing: factor on each MLP of the bank before the mean over the bank, as long as the LSTM's
      output is small.
    descent: see above.
  """
  shapes = velo_shapes(num_features, lstm_width, bank_size)
  flat, treedef = jax.tree_util.tree_flatten_with_path(shapes, is_leaf=lambda x: type(x) is tuple)

  def draw(path: tuple[Any, ...], shape: tuple[int, ...], key: jax.Array) -> jax.Array:
    part, *_, name = (entry.key for entry in path)
    if not name.startswith('w') or part == 'lstm_init_state':
      return jnp.zeros(shape, jnp.float32)
    first = name.startswith('w0')
    fan_in = sum(BLOCKS.values()) if first else shape[-2]
    bank = math.sqrt(bank_size) / mixing if part == 'ff_mod_stack' else 1.0
    bank *= 0.1 if descent and part == 'ff_mod_stack' else 1.0
    return bank / math.sqrt(fan_in) * jax.random.normal(key, shape, jnp.float32)

  keys = jax.random.split(key, len(flat))
  leaves = [draw(path, shape, k) for (path, shape), k in zip(flat, keys, strict=True)]
  theta = jax.tree.unflatten(treedef, leaves)
  rnn = theta['rnn_params']
  rnn['step_size'] = {'w': 0.0 * rnn['step_size']['w'], 'b': jnp.ones((1,), jnp.float32)}
  rnn['rnn_to_controls']['b'] = jnp.ones((bank_size,), jnp.float32)
  if descent:
    bank = theta['ff_mod_stack']['~']
    layers = with_descent([bank[name] for name in (ADAM, 'w1', 'w2')], 0, descent, mixing)
    bank |= dict(zip((ADAM, 'w1', 'w2'), layers, strict=True))
  return theta


def init_lstm(theta: Theta, num_tensors: int) -> LSTM:
  """The LSTM's learned initial state for each tensor."""
  start = theta['lstm_init_state']
  hidden, cell = (jnp.asarray(start[name], jnp.float32) for name in ('hidden', 'cell'))
  shape = (num_tensors, hidden.shape[-1])
  return LSTM(jnp.broadcast_to(hidden, shape), jnp.broadcast_to(cell, shape))


def init_loss_buffer() -> LossBuffer:
  """A buffer that has seen no loss."""
  return LossBuffer(jnp.zeros((LOSS_DECAYS,)), jnp.full((LOSS_DECAYS,), UNSEEN, jnp.float32))


def update_loss_buffer(
  buffer: LossBuffer, loss: Any, step: jax.Array, num_steps: Horizon
) -> tuple[LossBuffer, jax.Array]:
  """Adds a loss, clipped at twice the largest average so far.

  Args:
    buffer: the averages.
    loss: [].
    step: [] int32, number of losses seen before this one.
    num_steps: K.

  Returns:
    The new buffer, and the features [9]: how far the average on each time scale is above its
    minimum, relative to the next longer one; zero for the first two losses.
  """
  horizons = jnp.exp(jnp.linspace(math.log(10.0), jnp.log(jnp.float32(num_steps)), LOSS_DECAYS))
  decays = jnp.exp(-1.0 / horizons)
  bias = 1.0 - decays ** (step + 1).astype(jnp.float32)
  loss = jnp.asarray(loss, jnp.float32)
  largest = jnp.where(step == 0, loss, jnp.max(buffer.means / bias))
  loss = jnp.minimum(2.0 * jnp.abs(largest), loss)
  means = decays * buffer.means + (1.0 - decays) * loss
  corrected = means / bias
  running_min = jnp.minimum(buffer.running_min, corrected)
  low = running_min[:-1]
  relative = (corrected[:-1] - low) / jnp.maximum(1e-8, corrected[1:] - low) - 1.0
  features = jnp.where(step < 2, 0.0, jnp.clip(relative, -1.0, 1.0))
  return LossBuffer(means, running_min), features


def time_features(step: jax.Array, num_steps: Horizon) -> jax.Array:
  """tanh(10 (t/K - s)) for the fractions s in TIMES: [9], t counted from 0."""
  fraction = step.astype(jnp.float32) / num_steps
  return jnp.tanh(10.0 * (fraction - jnp.array(TIMES, jnp.float32)))


def log_magnitude(x: jax.Array) -> jax.Array:
  """log(1e-8 + |10 x|), clipped to ±5 and halved."""
  return 0.5 * jnp.clip(jnp.log(1e-8 + jnp.abs(10.0 * x)), -5.0, 5.0)


def run_lstm(theta: Theta, features: jax.Array, state: LSTM) -> LSTM:
  """Mixes the features [T, F] across tensors and takes one step of the LSTM on each."""
  rnn = theta['rnn_params']
  together = jnp.max(jax.nn.relu(_linear(rnn['linear_1'], features)), axis=0, keepdims=True)
  x = _linear(rnn['linear_2'], features)
  x += jnp.broadcast_to(together, x.shape)
  gates = _linear(rnn['rnn']['linear'], jnp.concatenate([x, state.hidden], axis=1))
  i, g, f, o = jnp.split(gates, 4, axis=1)
  cell = jax.nn.sigmoid(f + 1.0) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
  return LSTM(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)


def read_out(
  theta: Theta, hidden: jax.Array, interpolation: float, is_celo: bool
) -> tuple[jax.Array, MLP]:
  """The learning-rate multiplier [T] and the MLP of each tensor.

  VeLO: lr_mult = step, and the controls weight the bank directly. Celo: lr_mult = 0.1 exp(step),
  and the controls go through a softmax.
  """
  rnn = theta['rnn_params']
  controls = _linear(rnn['rnn_to_controls'], hidden)
  lr_mult = _linear(rnn['step_size'], hidden)[:, 0]
  if is_celo:
    controls, lr_mult = jax.nn.softmax(controls, axis=1), 0.1 * jnp.exp(lr_mult)
  bank = theta['ff_mod_stack']['~']
  stacks = {name: bank[name] for name in ('b0', 'w1', 'b1', 'w2', 'b2')}
  stacks['w0'] = jnp.concatenate([bank[f'w0__{i}'] for i in range(len(BLOCKS))], axis=1)
  scale = interpolation / controls.shape[1]
  return lr_mult, MLP(
    **{name: scale * jnp.tensordot(controls, stack, 1) for name, stack in stacks.items()}
  )


def _linear(layer: Theta, x: jax.Array) -> jax.Array:
  return x @ layer['w'] + layer['b'][None]

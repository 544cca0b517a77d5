"""VeLO and Celo in NumPy, tensor by tensor and loop by loop: an oracle, slow on purpose."""

import flax.serialization
import jax
import numpy as np

from l2o.rules.per_parameter.shapes import velo_shapes

DECAYS = (0.9, 0.99, 0.999)


class Reference:
  """One run of the optimizer on a dict of tensors; theta has released names, `rnn` nested."""

  def __init__(self, theta, params, num_steps, interpolation, is_celo, weight_decay=0.0):
    self.theta, self.K, self.c, self.is_celo = theta, num_steps, interpolation, is_celo
    self.weight_decay = weight_decay
    self.t = 0
    self.loss_means, self.loss_min = np.zeros(10), np.full(10, 999999999999.0)
    self.acc = {name: zeros(np.shape(p)) for name, p in params.items()}
    start = theta['lstm_init_state']
    self.h = {name: np.array(start['hidden'][0]) for name in params}
    self.cell = {name: np.array(start['cell'][0]) for name in params}

  def update(self, params, grads, loss):
    """Updates of one step, by name."""
    params = {name: np.asarray(p, np.float64) for name, p in params.items()}
    grads = {
      name: np.clip(np.asarray(g, np.float64) + self.weight_decay * params[name], -1000, 1000)
      for name, g in grads.items()
    }
    clock = np.concatenate([self.time(), self.losses(float(loss))])
    features = {name: self.features(clock, p, self.acc[name]) for name, p in params.items()}
    rnn = self.theta['rnn_params']
    together = np.maximum(0.0, np.max([linear(rnn['linear_1'], x) for x in features.values()], 0))
    updates = {}
    for name, p in params.items():
      self.lstm(name, linear(rnn['linear_2'], features[name]) + together)
      controls = linear(rnn['rnn_to_controls'], self.h[name])
      lr_mult = linear(rnn['step_size'], self.h[name])[0]
      if self.is_celo:
        lr_mult = 0.1 * np.exp(lr_mult)
        controls = np.exp(controls - controls.max()) / np.exp(controls - controls.max()).sum()
      bank = self.theta['ff_mod_stack']['~']
      mlp = {
        key: self.c * np.mean([a * w for a, w in zip(controls, stack, strict=True)], axis=0)
        for key, stack in bank.items()
      }
      accumulate(self.acc[name], grads[name])
      out = apply(mlp, inputs(grads[name], p, self.acc[name]))
      size = np.sqrt(np.mean(p**2) + 1e-9) * 0.001 * lr_mult
      updates[name] = -(out[..., 0] * np.exp(0.001 * out[..., 1]) * size).reshape(p.shape)
    self.t += 1
    return updates

  def time(self):
    return np.array(
      [np.tanh(10 * (self.t / self.K - s)) for s in (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)]
    )

  def losses(self, loss):
    decays = np.exp(-1 / np.logspace(1, np.log10(self.K), 10))
    bias = 1 - decays ** (self.t + 1)
    largest = loss if self.t == 0 else np.max(self.loss_means / bias)
    loss = min(2 * abs(largest), loss)
    self.loss_means = self.loss_means * decays + loss * (1 - decays)
    corrected = self.loss_means / bias
    self.loss_min = np.minimum(self.loss_min, corrected)
    if self.t + 1 <= 2:
      return np.zeros(9)
    low = self.loss_min[:-1]
    relative = (corrected[:-1] - low) / np.maximum(1e-8, corrected[1:] - low) - 1
    return np.clip(relative, -1, 1)

  def features(self, clock, p, acc):
    if self.is_celo:
      return clock
    r = 1 / np.sqrt(max(1e-9, np.mean(p**2)))
    m, v = acc['m'] * r, acc['v'] * r
    axes = tuple(range(p.ndim))
    mean_m = np.mean(m, axis=axes)
    rank = np.eye(5)[sum(n > 1 for n in p.shape)]
    var_m = [np.mean((m[..., k] - mean_m[k]) ** 2) for k in range(3)]
    var_v = [np.mean((v - mean_m[k]) ** 2) for k in range(3)]
    parts = [clock, squash(np.mean(v)), rank, squash(var_m), squash(var_v)]
    return np.concatenate([np.atleast_1d(x) for x in parts])

  def lstm(self, name, x):
    gates = linear(self.theta['rnn_params']['rnn']['linear'], np.concatenate([x, self.h[name]]))
    i, g, f, o = np.split(gates, 4)
    self.cell[name] = sigmoid(f + 1) * self.cell[name] + sigmoid(i) * np.tanh(g)
    self.h[name] = sigmoid(o) * np.tanh(self.cell[name])


def zeros(shape):
  acc = {'m': np.zeros((*shape, 3)), 'v': np.zeros(shape)}
  if len(shape) < 2:
    return acc | {'diag': np.zeros((*(shape or (1,)), 3))}
  d1, d0 = np.argsort(shape, kind='stable')[-2:]
  row, col = np.delete(shape, d0), np.delete(shape, d1)
  return acc | {'row': np.zeros((*row, 3)), 'col': np.zeros((*col, 3))}


def accumulate(acc, g):
  square = g**2
  for k, d in enumerate(DECAYS):
    acc['m'][..., k] = d * acc['m'][..., k] + (1 - d) * g
    if 'diag' in acc:
      acc['diag'][..., k] = d * acc['diag'][..., k] + (1 - d) * (square + 1e-30)
    else:
      d1, d0 = np.argsort(g.shape, kind='stable')[-2:]
      for name, axis in (('row', d0), ('col', d1)):
        mean = np.mean(square + 1e-30, axis=axis)
        acc[name][..., k] = d * acc[name][..., k] + (1 - d) * mean
  acc['v'] = 0.999 * acc['v'] + 0.001 * square


def inputs(g, p, acc):
  """The 14 blocks, channels last, in the order of the first layer's weights."""
  shape = g.shape or (1,)
  g, p, v = g.reshape(shape), p.reshape(shape), acc['v'].reshape(shape)
  m = acc['m'].reshape(*shape, 3)
  inverse = (1 / np.sqrt(v + 1e-6))[..., None]
  if 'diag' in acc:
    row = col = acc['diag']
    fac_g = g[..., None] * safe_rsqrt(row + 1e-9)
    fac_m = m * row**-0.5
  else:
    d1, d0 = np.argsort(shape, kind='stable')[-2:]
    row, col = np.expand_dims(acc['row'], d0), np.expand_dims(acc['col'], d1)
    factor = safe_rsqrt(row / (np.mean(row, axis=d1, keepdims=True) + 1e-9)) * safe_rsqrt(col)
    fac_g, fac_m = g[..., None] * factor, m * factor
    row, col = np.broadcast_to(row, m.shape), np.broadcast_to(col, m.shape)
  one = [g, np.clip(g, -0.1, 0.1), p]
  blocks = [x[..., None] for x in one]
  blocks += [m, v[..., None], m * inverse, inverse, fac_g, g[..., None] * inverse]
  return [*blocks, row, col, 1 / np.sqrt(row + 1e-8), 1 / np.sqrt(col + 1e-8), fac_m]


def apply(mlp, blocks):
  x = mlp['b0']
  for i, block in enumerate(blocks):
    axes = tuple(range(block.ndim - 1))
    x = x + (block / np.sqrt(1e-5 + np.mean(block**2, axis=axes))) @ mlp[f'w0__{i}']
  x = np.maximum(0, x) @ mlp['w1'] + mlp['b1']
  return np.maximum(0, x) @ mlp['w2'] + mlp['b2']


def linear(layer, x):
  return x @ layer['w'] + layer['b']


def squash(x):
  return 0.5 * np.clip(np.log(1e-8 + np.abs(10 * np.asarray(x))), -5, 5)


def safe_rsqrt(x):
  return 1 / np.sqrt(np.maximum(x, 1e-9))


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def released(change=lambda theta: None, num_features=18):
  """A file's tree: small, and with the LSTM's key as it is in released files; VeLO: 30 features."""
  sizes = velo_shapes(num_features, 4, 2)
  theta = jax.tree.map(
    lambda s: np.full(s, 0.5, np.float32), sizes, is_leaf=lambda x: type(x) is tuple
  )
  theta['rnn_params']['rnn/linear'] = theta['rnn_params'].pop('rnn')['linear']
  change(theta)
  return flax.serialization.msgpack_serialize(theta)

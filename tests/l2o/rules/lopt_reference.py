"""MLPLOpt, AdafacMLPLOpt and Celo2 in NumPy, one tensor at a time, channels last: an oracle."""

import numpy as np

TIMES = (1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5)


def by_layer(theta, prefix=''):
  """Nested dicts as one, keys joined by slashes, in float64."""
  flat = {}
  for key, branch in theta.items():
    more = by_layer(branch, f'{prefix}{key}/') if isinstance(branch, dict) else None
    flat |= more or {prefix + key: np.asarray(branch, np.float64)}
  return flat


class Tensor:
  """The averages of one tensor; a decay for each channel, on the last axis."""

  def __init__(self, shape, momentum, second=(), factored=()):
    self.shape = shape or (1,)
    # 1 - d is that of the rounded d: for 0.9999 it differs by 2e-4 of itself.
    rounded = [np.array(d, np.float32) for d in (momentum, second, factored)]
    self.decays = [(d.astype(np.float64), (1 - d).astype(np.float64)) for d in rounded]
    self.m, self.v = np.zeros((*self.shape, len(momentum))), np.zeros((*self.shape, len(second)))
    self.order = sorted(range(len(self.shape)), key=lambda axis: self.shape[axis])
    self.row = self.col = self.diag = 0.0

  def add(self, g):
    """What the network sees: gradient, averages, factors."""
    g = g.reshape(self.shape)[..., None]
    (dm, em), (dv, ev), (df, ef) = self.decays
    self.m = dm * self.m + em * g
    self.v = dv * self.v + ev * g**2
    if not df.size:
      return g, None, None
    q = g**2 + 1e-30
    if len(self.shape) < 2:
      self.diag = df * self.diag + ef * q
      return g, root(np.maximum(self.diag + 1e-9, 1e-9)), None
    d1, d0 = self.order[-2:]
    self.row = df * self.row + ef * q.mean(axis=d0, keepdims=True)
    self.col = df * self.col + ef * q.mean(axis=d1, keepdims=True)
    relative = self.row / (self.row.mean(axis=d1, keepdims=True) + 1e-9)
    factor = root(np.maximum(relative, 1e-9)) * root(np.maximum(self.col, 1e-9))
    return g, factor, self.m * factor


def root(x):
  return 1 / np.sqrt(x)


def wide(x, shape):
  return np.broadcast_to(x, (*shape, x.shape[-1]))


def normalised(x, epsilon, axes):
  return x * root(epsilon + (x**2).mean(axis=axes, keepdims=True))


def with_time(x, t):
  times = np.tanh(t / np.array(TIMES) - 1)
  return np.concatenate([x, np.broadcast_to(times, (*x.shape[:-1], 11))], axis=-1)


def perceptron(x, layers):
  for w, b in layers[:-1]:
    x = np.maximum(x @ w + b, 0)
  return x @ layers[-1][0] + layers[-1][1]


class MLPLOpt:
  """One run; `update` gives the updates of one step by name."""

  decays = ((0.1, 0.5, 0.9, 0.99, 0.999, 0.9999),)

  def __init__(self, theta, params):
    self.theta, self.t = by_layer(theta), 0
    self.tensors = {name: Tensor(np.shape(p), *self.decays) for name, p in params.items()}

  def update(self, params, grads):
    steps = {}
    for name, tensor in self.tensors.items():
      p, g = (np.asarray(x[name], np.float64) for x in (params, grads))
      a, b = np.moveaxis(self.outputs(tensor, g, p.reshape(tensor.shape)[..., None]), -1, 0)
      steps[name] = (-0.001 * a * np.exp(0.001 * b)).reshape(p.shape)
    self.t += 1
    return steps

  def outputs(self, tensor, g, p):
    g, *_ = tensor.add(g)
    x = np.concatenate([g, p, tensor.m], axis=-1)
    x = normalised(x, 1e-5, tuple(range(x.ndim - 1)))
    layers = [[self.theta[f'mlp/~/linear_{i}/{x}'] for x in 'wb'] for i in range(3)]
    return perceptron(with_time(x, self.t), layers)


class AdafacMLPLOpt(MLPLOpt):
  """Its decays are in theta."""

  def __init__(self, theta, params):
    flat = by_layer(theta)
    start = {
      'momentum_decays': (0.9, 0.99, 0.999),
      'rms_decays': (0.999,),
      'adafactor_decays': (0.9, 0.99, 0.999),
    }
    found = [1 - (1 - np.array(d)) * np.exp(10 * flat[name]) for name, d in start.items()]
    self.decays = found[0], *(np.clip(d, 0, 1) for d in found[1:])
    super().__init__(theta, params)

  def outputs(self, tensor, g, p):
    g, factor, factored_m = tensor.add(g)
    m, v, shape = tensor.m, tensor.v, tensor.shape
    blocks = [g, p, m, v, m * root(v + 1e-6), root(v + 1e-6), g * factor]
    if factored_m is None:
      d = tensor.diag
      blocks += [d, d, root(d + 1e-8), root(d + 1e-8), m * root(d + 1e-6)]
    else:
      r, c = (wide(x, shape) for x in (tensor.row, tensor.col))
      blocks += [r, c, root(r + 1e-8), root(c + 1e-8), factored_m]
    x = np.concatenate(blocks, axis=-1)
    x = with_time(normalised(x, 1e-5, tuple(range(x.ndim - 1))), self.t)
    return perceptron(x, [[self.theta[f'nn/~/{x}{i}'] for x in 'wb'] for i in range(3)])


class Celo2Steps(MLPLOpt):
  """The network's raw steps: of a root mean square of 1 for each matrix."""

  decays = (0.9, 0.99, 0.999), (0.95,), (0.9, 0.99, 0.999)

  def __init__(self, theta, params, orthogonal):
    super().__init__(theta, params)
    self.orthogonal = orthogonal

  def update(self, params, grads):
    steps = {}
    for name, tensor in self.tensors.items():
      p, g = (np.asarray(x[name], np.float64) for x in (params, grads))
      s = self.outputs(tensor, np.clip(g, -1000, 1000), p.reshape(tensor.shape)[..., None])[..., 0]
      if self.orthogonal and s.ndim > 1:
        s = newton_schulz(s)
      steps[name] = normalised(s, 1e-9, last_two(s.ndim)).reshape(p.shape)
    return steps

  def outputs(self, tensor, g, p):
    g, factor, factored_m = tensor.add(g)
    m, w = tensor.m, root(tensor.v + 1e-8)
    blocks = [g, np.clip(g, -0.1, 0.1), p, m, tensor.v, m * w, w, g * factor, g * w]
    if factored_m is not None:
      r, c = (wide(x, tensor.shape) for x in (tensor.row, tensor.col))
      blocks += [r, c, root(r + 1e-8), root(c + 1e-8), factored_m]
    h = self.theta['ff_mod_stack/~/b0']
    for i, block in enumerate(blocks):
      scaled = normalised(block, 1e-9, last_two(block.ndim - 1))
      h = h + scaled @ self.theta[f'ff_mod_stack/~/w0__{i}']
    layers = [[self.theta[f'ff_mod_stack/~/{x}{i}'] for x in 'wb'] for i in (1, 2)]
    return perceptron(np.maximum(h, 0), layers)


def last_two(rank):
  return tuple(range(max(0, rank - 2), rank))


def newton_schulz(s):
  if s.ndim > 2:
    return np.stack([newton_schulz(matrix) for matrix in s])
  if s.shape[0] > s.shape[1]:
    return newton_schulz(s.T).T
  x = s / (np.linalg.norm(s) + 1e-8)
  for _ in range(5):
    a = x @ x.T
    x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
  return x


class AdamW:
  """Of one tensor: its direction before the rate, with decoupled weight decay."""

  def __init__(self, weight_decay):
    self.m = self.v = self.t = 0
    self.weight_decay = weight_decay

  def update(self, p, g):
    self.t += 1
    self.m, self.v = 0.9 * self.m + 0.1 * g, 0.95 * self.v + 0.05 * g**2
    m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.95**self.t)
    return m / (np.sqrt(v) + 1e-8) + self.weight_decay * p

"""The hand-designed baselines in NumPy, one leaf after another, as their papers write them.

Each is a generator `(gradient, params, rates, **constants)`: `gradient` maps a dict of arrays to a
dict of arrays, `rates` has the learning rate of every step. After every step it yields the
parameters that are trained and those that are evaluated, in float64. Where optax departs from a
paper, the reference follows optax and says so.
"""

import numpy as np


def zeros(params):
  return {name: np.zeros_like(w) for name, w in params.items()}


def rms(x):
  return np.sqrt(np.mean(x**2))


def sgd(gradient, params, rates):
  for rate in rates:
    grads = gradient(params)
    params = {name: w - rate * grads[name] for name, w in params.items()}
    yield params, params


def momentum(gradient, params, rates, momentum=0.9):
  """Heavy ball, Polyak 1964: the velocity sums gradients, without a factor 1 - momentum."""
  velocity = zeros(params)
  for rate in rates:
    grads, new = gradient(params), {}
    for name, w in params.items():
      velocity[name] = momentum * velocity[name] + grads[name]
      new[name] = w - rate * velocity[name]
    params = new
    yield params, params


def adamw(gradient, params, rates, b1=0.9, b2=0.999, eps=1e-8, weight_decay=1e-4):
  """Loshchilov & Hutter, arXiv 1711.05101, alg. 2: the decay is outside the moments.

  As in optax the learning rate multiplies it, and not the schedule alone.
  """
  m, v = zeros(params), zeros(params)
  for k, rate in enumerate(rates, start=1):
    grads, new = gradient(params), {}
    for name, w in params.items():
      g = grads[name]
      m[name] = b1 * m[name] + (1 - b1) * g
      v[name] = b2 * v[name] + (1 - b2) * g * g
      m_hat, v_hat = m[name] / (1 - b1**k), v[name] / (1 - b2**k)
      new[name] = w - rate * m_hat / (np.sqrt(v_hat) + eps) - rate * weight_decay * w
    params = new
    yield params, params


def adam(gradient, params, rates, b1=0.9, b2=0.999, eps=1e-8):
  """Kingma & Ba, arXiv 1412.6980, alg. 1."""
  yield from adamw(gradient, params, rates, b1, b2, eps, weight_decay=0.0)


def adamax(gradient, params, rates, b1=0.9, b2=0.999, eps=1e-8):
  """Kingma & Ba, arXiv 1412.6980, alg. 2; eps is optax's, added to |g| inside the maximum."""
  m, u = zeros(params), zeros(params)
  for k, rate in enumerate(rates, start=1):
    grads, new = gradient(params), {}
    for name, w in params.items():
      m[name] = b1 * m[name] + (1 - b1) * grads[name]
      u[name] = np.maximum(b2 * u[name], np.abs(grads[name]) + eps)
      new[name] = w - rate / (1 - b1**k) * m[name] / u[name]
    params = new
    yield params, params


def nadamw(gradient, params, rates, b1=0.9, b2=0.999, eps=1e-8, weight_decay=1e-4):
  """Dozat, ICLR workshop 2016, with AdamW's decay: the first moment looks one step ahead."""
  m, v = zeros(params), zeros(params)
  for k, rate in enumerate(rates, start=1):
    grads, new = gradient(params), {}
    for name, w in params.items():
      g = grads[name]
      m[name] = b1 * m[name] + (1 - b1) * g
      v[name] = b2 * v[name] + (1 - b2) * g * g
      ahead = b1 * m[name] / (1 - b1 ** (k + 1)) + (1 - b1) * g / (1 - b1**k)
      step = ahead / (np.sqrt(v[name] / (1 - b2**k)) + eps)
      new[name] = w - rate * (step + weight_decay * w)
    params = new
    yield params, params


def adafactor(
  gradient, params, rates, decay_rate=0.8, clipping_threshold=1.0, min_dim_size_to_factor=128,
  momentum=0.0, weight_decay_rate=0.0,
):  # fmt: skip
  """Shazeer & Stern, arXiv 1804.04235, alg. 4 and 5; as in optax, the rate does not scale decay."""
  v, steps = dict.fromkeys(params, 0.0), zeros(params)
  for k, rate in enumerate(rates, start=1):
    grads, new = gradient(params), {}
    keep = 1 - k**-decay_rate
    for name, w in params.items():
      v[name] = keep * v[name] + (1 - keep) * (grads[name] ** 2 + 1e-30)
      mean = v[name]
      if w.ndim > 1 and min(w.shape) >= min_dim_size_to_factor:
        rows, columns = (mean.mean(axis=axis, keepdims=True) for axis in (1, 0))
        mean = rows * columns / mean.mean()
      step = grads[name] / np.sqrt(mean)
      step = step / max(1.0, rms(step) / clipping_threshold)
      step = rate * max(rms(w), 1e-3) * step
      steps[name] = momentum * steps[name] + (1 - momentum) * step
      new[name] = w - (steps[name] + weight_decay_rate * w)
    params = new
    yield params, params


def ademamix(
  gradient, params, rates, b1=0.9, b2=0.999, b3=0.9999, alpha=5.0, eps=1e-8, weight_decay=0.0
):
  """Pagliardini et al., arXiv 2409.03137, alg. 1, without schedules of b3 and alpha."""
  fast, slow, v = zeros(params), zeros(params), zeros(params)
  for k, rate in enumerate(rates, start=1):
    grads, new = gradient(params), {}
    for name, w in params.items():
      g = grads[name]
      fast[name] = b1 * fast[name] + (1 - b1) * g
      slow[name] = b3 * slow[name] + (1 - b3) * g
      v[name] = b2 * v[name] + (1 - b2) * g * g
      mixed = fast[name] / (1 - b1**k) + alpha * slow[name]
      step = mixed / (np.sqrt(v[name] / (1 - b2**k)) + eps)
      new[name] = w - rate * (step + weight_decay * w)
    params = new
    yield params, params


def orthogonalized(x, a=3.4445, b=-4.775, c=2.0315, steps=5):
  """Jordan, 2024: the singular values of a matrix moved towards 1, by Newton-Schulz steps."""
  x = x / (np.linalg.norm(x) + 1e-8)
  for _ in range(steps):
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    x = u * (a * s + b * s**3 + c * s**5) @ vt
  return x


def muon(gradient, params, rates, beta=0.95, weight_decay=0.0, consistent_rms=0.2):
  """Jordan, 2024: Nesterov's momentum of a matrix, orthogonalized; NAdamW for anything else.

  A kernel of a convolution is a matrix with all axes but the last as one. As in optax the momentum
  has Adam's bias corrections. The scale is that of Liu et al., arXiv 2502.16982.
  """
  vectors = {name for name, w in params.items() if np.ndim(w) < 2}
  m, adam_m, adam_v = zeros(params), zeros(params), zeros(params)
  for k, rate in enumerate(rates, start=1):
    grads, new = gradient(params), {}
    for name, w in params.items():
      g = grads[name]
      if name in vectors:
        adam_m[name] = 0.9 * adam_m[name] + 0.1 * g
        adam_v[name] = 0.999 * adam_v[name] + 0.001 * g * g
        ahead = 0.9 * adam_m[name] / (1 - 0.9 ** (k + 1)) + 0.1 * g / (1 - 0.9**k)
        new[name] = w - rate * ahead / (np.sqrt(adam_v[name] / (1 - 0.999**k)) + 1e-8)
        continue
      m[name] = beta * m[name] + (1 - beta) * g
      ahead = beta * m[name] / (1 - beta ** (k + 1)) + (1 - beta) * g / (1 - beta**k)
      matrix = ahead.reshape(-1, ahead.shape[-1])
      scale = consistent_rms * np.sqrt(max(matrix.shape))
      step = scale * orthogonalized(matrix).reshape(w.shape)
      new[name] = w - rate * (step + weight_decay * w)
    params = new
    yield params, params


def lion(gradient, params, rates, b1=0.9, b2=0.99, weight_decay=1e-3):
  """Chen et al., arXiv 2302.06675, alg. 2: one beta for the sign, another for the memory."""
  m = zeros(params)
  for rate in rates:
    grads, new = gradient(params), {}
    for name, w in params.items():
      c = b1 * m[name] + (1 - b1) * grads[name]
      m[name] = b2 * m[name] + (1 - b2) * grads[name]
      new[name] = w - rate * (np.sign(c) + weight_decay * w)
    params = new
    yield params, params


def lamb(gradient, params, rates, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.0):
  """You et al., arXiv 1904.00962, alg. 2, with phi the identity.

  As in optax the trust ratio ‖w‖ / ‖r + decay w‖ of a layer is 1 if either norm is zero.
  """
  m, v = zeros(params), zeros(params)
  for k, rate in enumerate(rates, start=1):
    grads, new = gradient(params), {}
    for name, w in params.items():
      g = grads[name]
      m[name] = b1 * m[name] + (1 - b1) * g
      v[name] = b2 * v[name] + (1 - b2) * g * g
      step = (m[name] / (1 - b1**k)) / (np.sqrt(v[name] / (1 - b2**k)) + eps) + weight_decay * w
      w_norm, step_norm = np.sqrt(np.sum(w * w)), np.sqrt(np.sum(step * step))
      trust = w_norm / step_norm if w_norm > 0 and step_norm > 0 else 1.0
      new[name] = w - rate * trust * step
    params = new
    yield params, params


def prodigy(gradient, params, rates, betas=(0.9, 0.999), eps=1e-8, estim_lr0=1e-6, weight_decay=0):
  """Mishchenko & Defazio, arXiv 2306.06101, alg. 4, with beta3 = sqrt(beta2).

  As in optax the step has Adam's bias correction, and r and s are those of the paper over d0^2
  and d0: d is their ratio all the same. The step has the size d of before, its eps the d of after.
  """
  (b1, b2), start = betas, params
  b3 = np.sqrt(b2)
  m, v, s = zeros(params), zeros(params), zeros(params)
  d, r = estim_lr0, 0.0
  for k, rate in enumerate(rates, start=1):
    grads, new = gradient(params), {}
    step = d * rate * np.sqrt(1 - b2**k) / (1 - b1**k)
    r = b3 * r
    for name, w in params.items():
      g = grads[name]
      m[name] = b1 * m[name] + (1 - b1) * d * g
      v[name] = b2 * v[name] + (1 - b2) * d**2 * g * g
      s[name] = b3 * s[name] + step * d / estim_lr0 * g
      r = r + step * d / estim_lr0 * np.sum(g * (start[name] - w))
    d = max(d, r / sum(np.sum(np.abs(leaf)) for leaf in s.values()))
    for name, w in params.items():
      new[name] = w - step * m[name] / (np.sqrt(v[name]) + d * eps) - step * weight_decay * w
    params = new
    yield params, params


def schedule_free_adamw(
  gradient, params, rates, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.0, warmup_steps=0
):
  """Defazio et al., arXiv 2405.15682, alg. 1: gradients at y, steps of z, evaluation of x.

  y = (1 - b1) z + b1 x, and x is the mean of z_k weighted with the largest rate so far, squared.
  As in optax the k-th step (from 1) has the warm-up's rate of k - 1, and its weight that of k.
  """
  x, y, z, v = dict(params), dict(params), dict(params), zeros(params)
  weights, largest = 0.0, 0.0
  for k, rate in enumerate(rates, start=1):
    grads = gradient(y)
    now, ahead = (rate * min(1.0, j / warmup_steps) if warmup_steps else rate for j in (k - 1, k))
    largest = max(largest, ahead)
    weights += largest**2
    c = largest**2 / weights
    for name in params:
      v[name] = b2 * v[name] + (1 - b2) * grads[name] ** 2
      direction = grads[name] / (np.sqrt(v[name] / (1 - b2**k)) + eps) + weight_decay * y[name]
      z[name] = z[name] - now * direction
      x[name] = (1 - c) * x[name] + c * z[name]
      y[name] = (1 - b1) * z[name] + b1 * x[name]
    yield dict(y), dict(x)

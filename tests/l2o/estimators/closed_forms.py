"""Inner problems whose meta-gradient estimates have a known mean and variance.

The losses are at most quadratic in the thetas of all steps together, with D[t, i] the derivative
of step t's loss in the theta of step i. Perturbation n is in force at the steps i with n(i) = n,
and G[t, n] is the sum of their D[t, i], of the same episode (truncated: and window). With
a[t, n] = 1 if the credit of step t has eps_n in it, Delta_t = sum_n G[t, n] . eps_n / sigma^2
exactly, and so for g_t = Delta_t xi_t, by the fourth moments of normal numbers,

  E g_t = sum_n a[t, n] G[t, n],
  Cov(g_t, g_u) = (sum_n a[t, n] a[u, n]) (sum_n G[t, n] . G[u, n]) I
                  + (sum_n a[t, n] G[u, n]) (sum_n a[u, n] G[t, n])^T.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from l2o.types import TaskBatch, Unroll

M = np.array([[1, 0.5], [-0.25, 0.75]], np.float32)
N = np.array([[1, 0], [0.5, -1]], np.float32)
H = np.array([[2, 0.5], [0.5, 1]], np.float32)
B, C = np.array([0.1, -0.2], np.float32), np.array([1, -2], np.float32)


class Problem(NamedTuple):
  """An inner problem and what is known of it."""

  unroll: Unroll
  theta: np.ndarray
  horizon: int
  window: int
  slopes: np.ndarray  # D [T, T, P], step t by step i

  @property
  def tasks(self):
    return TaskBatch((), {}, jnp.int32(self.horizon))


def unrolled(start, follow, loss):
  def step(theta, state, number, key, tasks):
    t = number + 1.0
    state = follow(state, theta, t)
    return state, loss(state, t)

  def evaluate(theta, state, tasks):
    return loss(state, tasks.num_steps.astype(jnp.float32))

  return Unroll(lambda theta, key, tasks: jnp.asarray(start, jnp.float32), step, evaluate)


def slopes(horizon, derivative):
  zero = np.zeros_like(derivative(1, 1))
  steps = range(1, horizon + 1)
  return np.array([[derivative(t, i) if i <= t else zero for i in steps] for t in steps])


def linear():
  def follow(s, theta, t):
    return s + theta[0] + theta[1] * t

  D = slopes(6, lambda t, i: t * np.array([1.0, i]))
  unroll = unrolled(2.0, follow, lambda s, t: t * s + 5.0)
  return Problem(unroll, np.array([0.3, -0.2], np.float32), 6, 2, D)


def quadratic():
  """Off-centre, and nothing is symmetric."""
  theta, states = np.array([0.3, -0.4], np.float32), [np.array([0.5, 1.0])]
  for _ in range(6):
    states.append(M @ states[-1] + N @ theta + B)

  def derivative(t, i):
    return (np.linalg.matrix_power(M.astype(float), t - i) @ N).T @ H @ (states[t] - C)

  unroll = unrolled(
    [0.5, 1.0], lambda s, theta, t: M @ s + N @ theta + B, lambda s, t: 0.5 * (s - C) @ H @ (s - C)
  )
  return Problem(unroll, theta, 6, 2, slopes(6, derivative))


def indivisible():
  """The window does not divide the horizon."""
  unroll = unrolled(1.0, lambda s, theta, t: s + theta[0], lambda s, t: t * s)
  theta = np.array([0.5], np.float32)
  return Problem(unroll, theta, 7, 3, slopes(7, lambda t, i: np.array([float(t)])))


def cubic():
  """Its estimators have different objectives: the last loss alone, s_6^3."""
  unroll = unrolled(0.0, lambda s, theta, t: s + theta[0], lambda s, t: s**3 * (t == 6))
  return Problem(unroll, np.array([0.4], np.float32), 6, 2, np.zeros((6, 6, 1)))


PROBLEMS = {'A': linear(), 'B': quadratic(), 'C': indivisible(), 'D': cubic()}


class Moments(NamedTuple):
  """Of one particle's estimates."""

  mean: np.ndarray  # [P]
  cycle: float  # trace of the covariance of the mean over a cycle of windows
  window: float  # the same of one window, its place in the cycle random
  windows: int  # of a cycle


def steps_of(problem, policy):
  """(episode, step, window) of every step of a cycle, all from 0."""
  T, W = problem.horizon, problem.window
  if policy == 'cut':
    return [(0, t, t // W) for t in range(T)]
  return [(n // T, n % T, n // W) for n in range(np.lcm(T, W))]


def perturbations(name, problem, policy, period=None):
  """n(i) of every step of a cycle, and a [steps, n]: the perturbations in its credit."""
  steps = steps_of(problem, policy)
  label = {
    'nres': lambda e, t, w: e,
    'pes': lambda e, t, w: w,
    'truncated_es': lambda e, t, w: w,
    'gpes': lambda e, t, w: (e, t // period) if period else e,
  }[name]
  labels = [label(*step) for step in steps]
  numbers = {key: n for n, key in enumerate(dict.fromkeys(labels))}
  force = np.array([numbers[key] for key in labels])
  a = np.zeros((len(steps), len(numbers)))
  for row, (episode, _, window) in enumerate(steps):
    for other in range(row + 1):
      same = steps[other][0] == episode and (name != 'truncated_es' or steps[other][2] == window)
      a[row, force[other]] = max(a[row, force[other]], same)
  return force, a


def moments(name, problem, policy='cut', period=None):
  """Mean and variances of an estimator, by the formula above."""
  steps = steps_of(problem, policy)
  force, a = perturbations(name, problem, policy, period)
  P, count = problem.slopes.shape[-1], a.shape[1]
  G = np.zeros((len(steps), count, P))
  for row, (episode, t, window) in enumerate(steps):
    for other, (e, i, w) in enumerate(steps):
      if e == episode and i <= t and (name != 'truncated_es' or w == window):
        G[row, force[other]] += problem.slopes[t, i]
  own = np.einsum('tn,tnp->tp', a, G)
  crossed = np.einsum('tn,unp->tup', a, G)
  trace = P * (a @ a.T) * np.einsum('tnp,unp->tu', G, G)
  trace += np.einsum('tup,utp->tu', crossed, crossed)
  windows = steps[-1][2] + 1
  weight = windows / problem.horizon if policy == 'cut' else 1.0 / problem.window
  chosen = weight * np.array([[w == number for _, _, w in steps] for number in range(windows)])
  means = chosen @ own  # [windows, P]
  mean = means.mean(axis=0)
  covariances = chosen @ trace @ chosen.T
  spread = np.sum((means - mean) ** 2, axis=1)
  return Moments(
    mean, covariances.sum() / windows**2, np.mean(np.diag(covariances) + spread), windows
  )


def gradient(problem):
  """That of J, the mean loss of an episode."""
  return problem.slopes.sum(axis=(0, 1)) / problem.horizon


def truncated_gradient(problem, policy='cut'):
  """The mean of estimates that do not see behind the start of a window."""
  return moments('truncated_es', problem, policy).mean

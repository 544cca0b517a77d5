"""Variance and bias of meta-gradient estimators against their cost in inner steps.

python -m benchmarks.estimators [--samples=1000] [--figure=docs/figures/estimators.png]

Estimates of single particles, from windows spread evenly over the episode, on a quadratic with two
meta-parameters and on the training of a small MLP with eight. Variance and bias are relative to the
length of the exact gradient: tr Cov / |g|^2 and |mean - g| / |g|, next to the bias expected from
noise alone. N particles have a variance N times smaller and cost N times as much, so the column
"at equal cost" is the variance of as many particles as one episode's inner steps pay for.
"""

import pathlib
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure

from l2o.estimators import ONLINE
from l2o.inner.unroll import unroll
from l2o.registry import build
from l2o.types import OnlineEstimator, TaskBatch, Theta, Unroll
from reports.figures import style
from reports.figures.style import COLOURS, End, png
from tests.l2o.estimators import closed_forms, small_mlp

_SAMPLES = flags.DEFINE_integer('samples', 1000, 'Particles of each estimator.', lower_bound=2)
_FIGURE = flags.DEFINE_string('figure', '', 'File of the figure; none if empty.')


class Problem(NamedTuple):
  """An inner problem, the windows to try on it and the noise."""

  unroll: Unroll
  theta: Theta
  tasks: TaskBatch
  windows: tuple[int, ...]
  sigma: float

  @property
  def horizon(self) -> int:
    """T."""
    return int(self.tasks.num_steps)


class Measured(NamedTuple):
  """An estimator on a problem, relative to the exact gradient."""

  steps: int  # inner steps per estimate
  variance: float
  bias: float
  error: float  # the bias expected from noise alone


def quadratic() -> Problem:
  """Two meta-parameters, six steps."""
  known = closed_forms.PROBLEMS['B']
  return Problem(known.unroll, jnp.asarray(known.theta), known.tasks, (1, 2, 6), 0.3)


def mlp() -> Problem:
  """Eight meta-parameters, 60 steps of an MLP."""
  rule, task, theta, tasks = small_mlp.problem(60)
  return Problem(unroll(rule, task), theta, tasks, (6, 20, 60), 0.02)


PROBLEMS = {'quadratic': quadratic, 'mlp': mlp}


def estimators(problem: Problem) -> dict[str, dict[str, Any]]:
  """Name in table and figure -> the block of a config, without its window."""
  noisy = {'sigma': problem.sigma}
  return {
    'nres': {'name': 'nres', **noisy},
    'gpes, two noises': {'name': 'gpes', 'period': problem.horizon // 2, **noisy},
    'pes': {'name': 'pes', **noisy},
    'truncated_es': {'name': 'truncated_es', **noisy},
    'reverse_mode': {'name': 'reverse_mode'},
  }


def exact(problem: Problem) -> np.ndarray:
  """The gradient [P] by differentiating through the whole episode."""
  whole = {'name': 'reverse_mode', 'max_steps': problem.horizon}
  online = build(ONLINE, whole, 'estimator', unroll=problem.unroll)
  return samples(online, problem, windows=1, count=1)[0][0, 0]


def samples(
  online: OnlineEstimator, problem: Problem, windows: int, count: int
) -> tuple[np.ndarray, int]:
  """Estimates [count, windows, P] after as many windows of burn-in; inner steps of each."""

  def one(key: jax.Array, theta: Theta, tasks: TaskBatch) -> tuple[jax.Array, jax.Array]:
    def step(state: Any, number: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
      key_now = jax.random.fold_in(key, number)
      grad, state, metrics = online.estimate(theta, state, key_now, tasks)
      return state, (ravel_pytree(grad)[0], metrics['inner_steps'])

    return jax.lax.scan(step, online.init(theta, key, tasks), jnp.arange(2 * windows))[1]

  keys = jax.random.split(jax.random.key(0), count)
  run = jax.jit(jax.vmap(one, in_axes=(0, None, None)))
  grads, steps = run(keys, problem.theta, problem.tasks)
  return np.asarray(grads[:, windows:], np.float64), int(steps[0, -1])


def measure(spec: Mapping[str, Any], problem: Problem, window: int, true: np.ndarray) -> Measured:
  """Measures an estimator with windows of this length."""
  arguments = {**spec, 'window': window, 'particles': 1}
  online = build(ONLINE, arguments, 'estimator', unroll=problem.unroll)
  windows = -(-problem.horizon // window)
  grads, steps = samples(online, problem, windows, _SAMPLES.value)
  length, cycles = np.linalg.norm(true), grads.mean(axis=1)
  variance = grads.reshape(-1, len(true)).var(axis=0).sum() / length**2
  bias = np.linalg.norm(cycles.mean(axis=0) - true) / length
  error = np.sqrt(cycles.var(axis=0).sum() / len(cycles)) / length
  return Measured(steps, float(variance), float(bias), float(error))


def figure(results: Mapping[str, Mapping[str, Mapping[int, Measured]]]) -> Figure:
  """Variance against inner steps, one panel per problem; biased estimators are dashed."""
  with style.context():
    drawn, panels = style.panels(len(results))
    for axes, (problem, rows) in zip(panels, results.items(), strict=True):
      ends = []
      for colour, (name, row) in zip(COLOURS, rows.items(), strict=False):
        biased = name in ('truncated_es', 'reverse_mode')
        if seen := [(m.steps, m.variance) for m in row.values() if m.variance > 1e-9]:
          look = {'ls': '--', 'marker': 's'} if biased else {'marker': 'o'}
          axes.loglog(*zip(*seen, strict=True), ms=4, color=colour, **look)
          ends.append(End(*seen[-1], f'{name} (biased)' if biased else name, colour))
      axes.set(title=problem, xlabel='inner steps of an estimate')
      style.name_ends(axes, ends)
    panels[0].set_ylabel('variance / |g|²')
  return drawn


def main(_: Any) -> None:
  """Prints the table and draws the figure."""
  print('| problem | estimator | window | inner steps | variance | at equal cost | bias (noise) |')
  print('|---|---|---|---|---|---|---|')
  results: dict[str, dict[str, dict[int, Measured]]] = {}
  for title, make in PROBLEMS.items():
    problem = make()
    try_it = partial(measure, problem=problem, true=exact(problem))
    results[title] = {name: {} for name in estimators(problem)}
    for name, spec in estimators(problem).items():
      for window in problem.windows:
        seen = results[title][name][window] = try_it(spec, window=window)
        equal = seen.variance * seen.steps / problem.horizon
        print(
          f'| {title} | {name} | {window} | {seen.steps} | {seen.variance:.3g} | {equal:.3g} '
          f'| {seen.bias:.3f} ({seen.error:.3f}) |',
          flush=True,
        )
  if _FIGURE.value:
    pathlib.Path(_FIGURE.value).write_bytes(png(figure(results)))


if __name__ == '__main__':
  app.run(main)

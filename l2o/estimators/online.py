"""What online estimators share: particles kept between estimates, each advanced by a window.

A particle is one inner problem, run with theta + eps and theta - eps (or with theta alone), and an
estimate advances each by a window of W steps. The two runs share everything but the sign: start,
batches, keys and length. For evolution strategies, with eps ~ N(0, sigma^2),

    grad = weight * sum over the window of Delta_t xi_t,   Delta_t = (L_t+ - L_t-) / (2 sigma^2).

xi_t, the credit, is the perturbation that a loss is credited to: the sum of the episode's eps so
far (`pes`, `gpes`; with one eps for an episode, `nres`), or the window's own (`truncated_es`). It
holds up to and including the step that completes the episode, whose loss is the episode's last, and
is reset when the next one starts. `l2o.estimators.clock` has the weights.

A particle with a loss that is not finite adds nothing, and starts its next episode in the next
window.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from l2o.errors import InputError
from l2o.estimators import clock as clocks
from l2o.estimators.clock import Clock
from l2o.estimators.nes import perturbation
from l2o.inner.mapping import vectorized
from l2o.inner.rollout import OBJECTIVES
from l2o.registry import choose
from l2o.types import (
  MapFn,
  MetaGradient,
  Metrics,
  OnlineEstimator,
  PyTree,
  Tasks,
  Theta,
  Unroll,
)

PAIR = (1.0, -1.0)
ONCE = 0  # the period of one perturbation for the whole episode


class Particle(NamedTuple):
  """One inner problem; in an estimator's state every leaf has a leading axis [particles]."""

  runs: PyTree  # the states of its runs, leaves [runs, ...]
  noise: Theta | None  # eps
  credit: Theta | None  # xi
  clock: Clock


class Spec(NamedTuple):
  """What distinguishes online estimators."""

  particles: int
  window: int  # W
  policy: str = 'cut'
  objective: str = 'mean'
  stagger: bool = True
  signs: Sequence[float] = PAIR  # run i uses theta + signs[i] * eps
  sigma: float | None = None  # None: no noise
  period: int | None = None  # steps from one eps to the next, or ONCE; None: one for each window
  persistent: bool = True  # False: only the last run is kept, and all start from it
  segment: int | None = None  # steps between checkpoints of reverse-mode differentiation
  pair_map: MapFn = vectorized


class Seen(NamedTuple):
  """Sums over a particle's window."""

  grad: Theta | None  # of Delta_t xi_t
  loss: jax.Array  # [runs]
  steps: jax.Array  # [] int32, steps that were not idle


def check(spec: Spec) -> Spec:
  """Raises InputError if the policy or the objective is unknown, or they do not fit together."""
  choose(spec.policy, clocks.POLICIES, 'policy')
  choose(spec.objective, OBJECTIVES, 'meta-objective')
  if spec.objective == 'final' and spec.policy == 'roll':
    raise InputError(
      "estimator.objective = 'final' needs estimator.policy = 'cut', so that a window ends where "
      'its episode does'
    )
  return spec


def start(spec: Spec, unroll: Unroll, theta: Theta, tasks: Tasks) -> Particle:
  """Particles [particles, ...] that begin an episode in the first window, from shapes alone."""
  key = jax.random.key(0)
  shape = jax.eval_shape(unroll.init, theta, key, tasks)
  kept = len(spec.signs) if spec.persistent else 1
  runs = jax.tree.map(lambda x: jnp.zeros((spec.particles, kept, *x.shape), x.dtype), shape)
  zeros = None
  if spec.sigma is not None and spec.persistent:
    zeros = jax.tree.map(lambda t: jnp.zeros((spec.particles, *t.shape), t.dtype), theta)
  clock = jax.vmap(clocks.before_the_first)(jnp.arange(spec.particles, dtype=jnp.int32))
  return Particle(runs, zeros, zeros, clock)


def evolution(spec: Spec, unroll: Unroll, map_fn: MapFn) -> OnlineEstimator:
  """The estimator that perturbs theta as the spec says."""

  def one(particle: Particle, shared: tuple[Any, ...]) -> tuple[Theta, Particle, Metrics]:
    theta, key, tasks = shared
    particle, seen = window_of(spec, unroll, theta, particle, key, tasks)
    values = objective_values(spec, unroll, theta, particle, seen, tasks)
    if spec.objective == 'mean':
      scale = clocks.weight(particle.clock, spec.window, spec.policy)
      grad = jax.tree.map(lambda g: scale.astype(g.dtype) * g, seen.grad)
    else:
      grad = _credited(spec, jax.tree.map(jnp.zeros_like, theta), values, particle.credit)
    finite = jnp.isfinite(seen.loss) & jnp.isfinite(values)
    return grad, close(spec, particle), measured(spec, particle, seen, values, finite)

  return estimator(spec, unroll, one, map_fn)


def estimator(spec: Spec, unroll: Unroll, one: Any, map_fn: MapFn) -> OnlineEstimator:
  """Averages `one` over particles: (particle, shared) -> gradient, particle, metrics."""

  def init(theta: Theta, key: jax.Array, tasks: Tasks) -> Particle:
    del key  # all draws use the keys of the estimates
    return start(spec, unroll, theta, tasks)

  def estimate(theta: Theta, state: Particle, key: jax.Array, tasks: Tasks) -> MetaGradient:
    grads, state, metrics = map_fn(one, state, (theta, key, tasks))
    lost = metrics['nonfinite'] > 0

    def mean(x: jax.Array) -> jax.Array:
      kept = ~lost.reshape(-1, *[1] * (x.ndim - 1))
      number = jnp.maximum(jnp.sum(~lost), 1).astype(x.dtype)
      return jnp.sum(x, axis=0, where=kept) / number

    # A lost particle's episode ends here: its state would stay lost.
    over = jnp.where(lost, state.clock.step, state.clock.length)
    state = state._replace(clock=state.clock._replace(length=over))
    counts = {name: jnp.sum(metrics[name]) for name in ('nonfinite', 'candidates', 'inner_steps')}
    loss = jnp.where(jnp.all(lost), jnp.nan, mean(metrics['loss']))
    return jax.tree.map(mean, grads), state, {'loss': loss} | counts

  inner_steps = spec.particles * len(spec.signs) * spec.window
  return OnlineEstimator(spec.particles, inner_steps, init, estimate)


def objective_values(
  spec: Spec, unroll: Unroll, theta: Theta, particle: Particle, seen: Seen, tasks: Tasks
) -> jax.Array:
  """The runs' values [runs] of the meta-objective after a window, weighted for a mean over windows.

  'mean': the window's training losses; 'window_end': the loss on evaluation data at its end;
  'final': the same at the end of an episode, and zero in its other windows.
  """
  clock = particle.clock
  if spec.objective == 'mean':
    return clocks.weight(clock, spec.window, spec.policy) * seen.loss
  values = evaluations(spec, unroll, theta, particle, tasks)
  if spec.objective == 'window_end':
    return values
  ended = jnp.where(clocks.is_over(clock), clocks.weight_of_the_last(clock, spec.window), 0.0)
  return ended * values


def evaluations(
  spec: Spec, unroll: Unroll, theta: Theta, particle: Particle, tasks: Tasks
) -> jax.Array:
  """The runs' losses [runs] on evaluation data."""

  def one(run: PyTree, shared: tuple[Any, ...]) -> jax.Array:
    perturbed, state = run
    return unroll.evaluate(perturbed, state, shared[0])

  return spec.pair_map(one, (thetas(spec, theta, particle.noise), particle.runs), (tasks,))


def measured(
  spec: Spec, particle: Particle, seen: Seen, values: jax.Array, finite: jax.Array
) -> Metrics:
  """A particle's metrics []; for a truncated pair, only 'inner_steps' counts the run in between."""
  tried = min(len(spec.signs), 2)
  training = seen.loss / jnp.maximum(seen.steps, 1).astype(seen.loss.dtype)
  shown = values if spec.objective == 'window_end' else training
  return {
    'loss': jnp.mean(shown[:tried]),
    'nonfinite': jnp.sum(~finite[:tried]),
    'candidates': jnp.int32(tried),
    'inner_steps': seen.steps * len(spec.signs),
  }


def window_of(
  spec: Spec, unroll: Unroll, theta: Theta, particle: Particle, key: jax.Array, tasks: Tasks
) -> tuple[Particle, Seen]:
  """Advances a particle by a window; the particle returned still needs `close`.

  Args:
    spec: the estimator.
    unroll: the inner problem.
    theta: the meta-parameters.
    particle: one particle, without a leading axis.
    key: [], the estimate's.
    tasks: passed to the unroll, and gives the horizon.
  """
  enter = partial(_enter, spec, unroll, theta, key, tasks)
  inside, particle = _enters_inside(spec), _open(spec, theta, particle)
  if not inside:  # once, before the loop
    particle = enter(True, particle)

  def step(carry: tuple[Particle, Seen], number: jax.Array) -> tuple[tuple[Particle, Seen], None]:
    particle, seen = carry
    if inside:
      first = number == 0
      due = first | (_is_due(spec, particle.clock) & (number < spec.window))
      particle = jax.lax.cond(due, partial(enter, first), lambda same: same, particle)
    idle = clocks.is_over(particle.clock) | (number >= spec.window)
    take = partial(_take, spec, unroll, theta, tasks)
    return jax.lax.cond(idle, lambda *same: same, take, particle, seen), None

  total = jax.tree.map(jnp.zeros_like, particle.credit)
  nothing = Seen(total, jnp.zeros(len(spec.signs)), jnp.zeros((), jnp.int32))
  length = spec.segment or spec.window
  numbers = jnp.arange(length * math.ceil(spec.window / length), dtype=jnp.int32)
  carry = particle, nothing
  if spec.segment is None:
    return jax.lax.scan(step, carry, numbers)[0]
  # Only the carries between segments are stored; the backward pass recomputes the steps within.
  segment = jax.checkpoint(partial(jax.lax.scan, step), prevent_cse=False)
  return jax.lax.scan(segment, carry, numbers.reshape(-1, length))[0]


def thetas(spec: Spec, theta: Theta, noise: Theta | None) -> Theta:
  """The thetas that the runs use, leaves [runs, ...]."""
  if noise is None:
    return jax.tree.map(lambda t: jnp.stack([t] * len(spec.signs)), theta)
  return jax.tree.map(lambda t, e: jnp.stack([t + sign * e for sign in spec.signs]), theta, noise)


def _open(spec: Spec, theta: Theta, particle: Particle) -> Particle:
  """A particle with all its runs: those that are not kept start from the last one."""
  if spec.persistent or spec.sigma is None:
    return particle
  runs = jax.tree.map(lambda x: jnp.repeat(x, len(spec.signs), axis=0), particle.runs)
  zeros = jax.tree.map(jnp.zeros_like, theta)
  return Particle(runs, zeros, zeros, particle.clock)


def close(spec: Spec, particle: Particle) -> Particle:
  """What is kept of a particle until the next window."""
  if spec.persistent or spec.sigma is None:
    return particle
  return Particle(jax.tree.map(lambda x: x[-1:], particle.runs), None, None, particle.clock)


def _enters_inside(spec: Spec) -> bool:
  """Whether an episode or a perturbation may begin within a window."""
  return spec.policy == 'roll' or bool(spec.period and spec.period % spec.window)


def _is_due(spec: Spec, clock: Clock) -> jax.Array:
  """Whether an episode or a perturbation begins before the window's next step."""
  over, draws = clocks.is_over(clock), _draws(spec, clock, first=False)
  return over | draws if spec.policy == 'roll' else ~over & draws


def _draws(spec: Spec, clock: Clock, first: bool | jax.Array) -> jax.Array:
  """Whether a perturbation begins with the next step, [] bool; `first`: see `_enter`."""
  if spec.period is None:
    return jnp.asarray(first)
  return (clock.step % spec.period if spec.period else clock.step) == 0


def _enter(
  spec: Spec, unroll: Unroll, theta: Theta, key: jax.Array, tasks: Tasks,
  first: bool | jax.Array, particle: Particle,
) -> Particle:  # fmt: skip
  """Begins an episode if the last one has ended, and a perturbation if it is time for one.

  `first`: whether the next step is the window's first.
  """
  over = clocks.is_over(particle.clock)
  begun = clocks.begin(particle.clock, key, tasks.num_steps, spec.window, spec.policy, spec.stagger)
  clock = jax.tree.map(partial(jnp.where, over), begun, particle.clock)
  noise, credit = particle.noise, particle.credit
  if spec.sigma is not None:
    draws = _draws(spec, clock, first)
    noise = jax.lax.cond(draws, lambda old: _draw(spec, clock, old), lambda old: old, noise)
    # An episode that begins within a window of PES uses the window's noise.
    credit = jax.tree.map(
      lambda c, e: jnp.where(over, 0.0, c) + jnp.where(draws | over, e, 0.0), credit, noise
    )
  starts = partial(_begin_runs, spec, unroll, clocks.key_of(clock, clocks.START), tasks)
  perturbed = thetas(spec, theta, noise)
  runs = jax.lax.cond(over, starts, lambda perturbed, old: old, perturbed, particle.runs)
  return Particle(runs, noise, credit, clock)


def _draw(spec: Spec, clock: Clock, like: Theta) -> Theta:
  unit = perturbation(clocks.key_of(clock, clocks.NOISE), like, clock.step)
  return jax.tree.map(lambda e: jnp.asarray(spec.sigma, e.dtype) * e, unit)


def _begin_runs(
  spec: Spec, unroll: Unroll, key: jax.Array, tasks: Tasks, perturbed: Theta, old: PyTree
) -> PyTree:
  runs = spec.pair_map(lambda theta, shared: unroll.init(theta, *shared), perturbed, (key, tasks))
  return jax.tree.map(lambda x, o: x.astype(o.dtype), runs, old)


def _take(
  spec: Spec, unroll: Unroll, theta: Theta, tasks: Tasks, particle: Particle, seen: Seen
) -> tuple[Particle, Seen]:
  """One inner step of all runs, and what its losses add to the sums."""
  clock = particle.clock
  key = jax.random.fold_in(clocks.key_of(clock, clocks.STEPS), clock.step)

  def one(run: PyTree, shared: tuple[Any, ...]) -> tuple[PyTree, jax.Array]:
    perturbed, state = run
    return unroll.step(perturbed, state, *shared)

  runs = thetas(spec, theta, particle.noise), particle.runs
  states, losses = spec.pair_map(one, runs, (clock.step, key, tasks))
  losses = losses.astype(seen.loss.dtype)
  grad = None
  if seen.grad is not None:
    grad = _credited(spec, seen.grad, losses, particle.credit)
  later = particle._replace(runs=states, clock=clock._replace(step=clock.step + 1))
  return later, Seen(grad, seen.loss + losses, seen.steps + 1)


def _credited(spec: Spec, total: Theta, losses: jax.Array, credit: Theta) -> Theta:
  """total + Delta xi."""
  assert spec.sigma is not None
  delta = (losses[0] - losses[1]) / (2.0 * spec.sigma**2)
  return jax.tree.map(lambda sum_, c: sum_ + delta.astype(c.dtype) * c, total, credit)

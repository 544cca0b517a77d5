"""LGL2O: a loss guard around a learned optimizer.

Both optimizers propose a step from the same point; the losses of the proposals on fresh data are
compared, the better one is taken, and both continue from it. With a period n_t > 1, each runs n_t
steps on its own trajectory before they are compared.

Source: Prémont-Schwarz et al., "A Simple Guard for Learned Optimizers", arXiv 2201.12426.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.arguments import Count, checked
from l2o.errors import InputError
from l2o.rules.contract import ANY, check_scalar, strict
from l2o.rules.two_sided import two_sided
from l2o.types import LearnedRule, Metrics, Params, PyTree

CALL = 'update(grads, state, params, value=loss, value_fn=loss_on_fresh_data)'


class GuardState(NamedTuple):
  """State of a guard: the states of its two sides, the second trajectory, and what was chosen."""

  hand_designed: PyTree
  learned: PyTree
  shadow: Params | None  # the learned side's own parameters; None where the period is 1
  step: jax.Array  # [] int32, steps done
  losses: jax.Array  # [2] float32, the last comparison: hand-designed, learned
  taken_hand_designed: jax.Array  # [] int32, comparisons that this side won
  taken_learned: jax.Array  # [] int32, likewise
  skipped: jax.Array  # [] int32, steps that left the parameters where they were


class _Sides(NamedTuple):
  """The arguments of `lgl2o`, checked."""

  hand_designed: optax.GradientTransformationExtraArgs
  learned: optax.GradientTransformationExtraArgs
  period: int


class _Proposal(NamedTuple):
  """What one optimizer proposes."""

  updates: PyTree  # from the parameters that the caller holds
  params: Params  # where they lead
  state: PyTree


@checked
def lgl2o(
  hand_designed: optax.GradientTransformation,
  learned: optax.GradientTransformation,
  period: Count = 1,
) -> optax.GradientTransformationExtraArgs:
  """Takes whichever of two optimizers' proposals has the lower loss on fresh data.

  A proposal with a non-finite loss or a non-finite parameter loses to any other, and ties go to the
  hand-designed side. If neither is finite, the hand-designed proposal is taken if at least its
  parameters are finite, as that optimizer alone would have done; otherwise the parameters stay and
  the step counts as skipped. The optimizers' states are never exchanged.

  With a period above 1, the caller's parameters follow the hand-designed trajectory between
  comparisons, so that a run may stop at any step; the learned side follows a copy in the state.
  Once that copy has diverged, the learned optimizer's state is no longer updated, since the
  gradients there would corrupt it for good.

  Updates are added to the caller's parameters p, so the learned side's copy s is reached as
  p + (s - p), rounded twice in the parameters' dtype. This sum is what is compared and taken, and
  where the next period starts. It differs from s by at most about u (|s - p| + |s|), where u is
  6e-8 in float32 and 4e-3 in bfloat16; a compiler that keeps extra precision in between may
  land that much closer to s than what was compared.

  Args:
    hand_designed: any optax transformation; the one to fall back to.
    learned: any other, for example a bound rule or a hub.
    period: n_t, steps from one comparison to the next.

  Returns:
    A transformation with a `GuardState` and
    `update(grads, state, params, *, value, value_fn, value_and_grad_fn=None, **extra)`:
    `value` [] is the loss at `params`; `value_fn(params)` [] the mean loss over n_c fresh batches,
    the same for both proposals; `value_and_grad_fn(params)`, needed if the period is above 1, the
    training loss and its gradient on the step's batch. All of them are passed to both sides.

  Raises:
    InputError: a period below 1; at `update`, no parameters, no `value`, no `value_fn`, or a period
      above 1 without `value_and_grad_fn`.

  Example:
    >>> def loss(params):
    ...   return jnp.sum((params['w'] - 3.0) ** 2)
    >>> params = {'w': jnp.array([1.0, 2.0])}
    >>> tx = lgl2o(optax.sgd(0.1), optax.sgd(100.0))
    >>> value, grads = jax.value_and_grad(loss)(params)
    >>> updates, state = tx.update(grads, tx.init(params), params, value=value, value_fn=loss)
    >>> [round(u, 3) for u in updates['w'].tolist()]
    [0.4, 0.2]
    >>> int(state.taken_hand_designed), int(state.taken_learned)
    (1, 0)
  """
  both = optax.with_extra_args_support(hand_designed), optax.with_extra_args_support(learned)
  sides = _Sides(*both, period)
  return strict('lgl2o', partial(_init, sides), partial(_update, sides), CALL, trains=ANY)


def _init(sides: _Sides, params: Params) -> GuardState:
  return GuardState(
    hand_designed=sides.hand_designed.init(params),
    learned=sides.learned.init(params),
    shadow=None if sides.period == 1 else params,
    step=jnp.zeros((), jnp.int32),
    losses=jnp.zeros((2,), jnp.float32),
    taken_hand_designed=jnp.zeros((), jnp.int32),
    taken_learned=jnp.zeros((), jnp.int32),
    skipped=jnp.zeros((), jnp.int32),
  )


def _update(
  sides: _Sides,
  grads: PyTree,
  state: GuardState,
  params: Params,
  *,
  value: Any,
  value_fn: Callable[[Params], Any] | None = None,
  value_and_grad_fn: Callable[[Params], tuple[jax.Array, PyTree]] | None = None,
  **extra: Any,
) -> tuple[PyTree, GuardState]:
  if value_fn is None:
    raise InputError(
      'lgl2o needs value_fn, the loss on fresh data, to compare its proposals: pass it to update, '
      'or set train.comparisons to at least 1 in a config'
    )
  extra |= {'value_fn': value_fn, 'value_and_grad_fn': value_and_grad_fn}
  first = _propose(sides.hand_designed, grads, state.hand_designed, params, value=value, **extra)
  if sides.period == 1:
    second = _propose(sides.learned, grads, state.learned, params, value=value, **extra)
    losses = _losses(value_fn, first, second)
    return _settle(state, first, second, losses, jnp.array(True), shadow=None)
  if value_and_grad_fn is None:
    raise InputError(
      f'lgl2o with period {sides.period} needs value_and_grad_fn, the training loss and its '
      f'gradient: pass it to update, or set period to 1'
    )
  second, shadow = _follow(sides, state, params, **extra)
  compare = (state.step + 1) % sides.period == 0
  losses = jax.lax.cond(compare, lambda: _losses(value_fn, first, second), lambda: state.losses)
  return _settle(state, first, second, losses, compare, shadow)


def _propose(
  tx: optax.GradientTransformationExtraArgs,
  grads: PyTree,
  state: PyTree,
  params: Params,
  **extra: Any,
) -> _Proposal:
  updates, state = tx.update(grads, state, params, **extra)
  updates = optax.tree.cast_like(updates, params)
  return _Proposal(updates, optax.apply_updates(params, updates), state)


def _follow(
  sides: _Sides,
  state: GuardState,
  params: Params,
  *,
  value_and_grad_fn: Callable[[Params], tuple[jax.Array, PyTree]],
  **extra: Any,
) -> tuple[_Proposal, Params]:
  """The learned side's next step along the shadow; the first of a period leaves from `params`.

  Returns:
    What it proposes to the caller, who can only add to `params`, and the new shadow. The two differ
    where shadow - params is not exact in their dtype.
  """
  shadow = _select(state.step % sides.period == 0, params, state.shadow)
  value, grads = value_and_grad_fn(shadow)
  extra |= {'value': value, 'value_and_grad_fn': value_and_grad_fn}
  step = _propose(sides.learned, grads, state.learned, shadow, **extra)
  updates = jax.tree.map(jnp.subtract, step.params, params)
  state_after = _select(_all_finite((shadow, grads, value)), step.state, state.learned)
  return _Proposal(updates, optax.apply_updates(params, updates), state_after), step.params


def _losses(value_fn: Callable[[Params], Any], first: _Proposal, second: _Proposal) -> jax.Array:
  """Losses of the two proposals; NaN for one with non-finite parameters: [2]."""
  both = (first.params, second.params)
  values = [value_fn(params) for params in both]
  check_scalar('lgl2o: what value_fn returns', values[0])
  losses = [jnp.asarray(value, jnp.float32) for value in values]
  finite = [_all_finite(params) for params in both]
  return jnp.where(jnp.stack(finite), jnp.stack(losses), jnp.nan)


def _settle(
  state: GuardState,
  first: _Proposal,
  second: _Proposal,
  losses: jax.Array,
  compare: jax.Array,
  shadow: Params | None,
) -> tuple[PyTree, GuardState]:
  """Takes one of the proposals, or, between comparisons, the hand-designed one."""
  loss_h, loss_u = jnp.where(jnp.isfinite(losses), losses, jnp.inf)
  learned = compare & (loss_u < loss_h)
  hand_designed = ~learned & _all_finite(first.params)
  stay = jax.tree.map(jnp.zeros_like, first.updates)
  updates = _select(learned, second.updates, _select(hand_designed, first.updates, stay))
  return updates, GuardState(
    hand_designed=first.state,
    learned=second.state,
    shadow=shadow,
    step=state.step + 1,
    losses=losses,
    taken_hand_designed=state.taken_hand_designed + (compare & hand_designed),
    taken_learned=state.taken_learned + learned,
    skipped=state.skipped + ~(learned | hand_designed),
  )


def _select(condition: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _all_finite(tree: PyTree) -> jax.Array:
  return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)], bool))


def lgl2o_rule(
  hand_designed: Mapping[str, Any], learned: Mapping[str, Any], period: Count = 1
) -> LearnedRule:
  """`l2o.lgl2o` of two rules, with theta = {'hand_designed': …, 'learned': …}.

  Args:
    hand_designed: name and arguments of a rule, which may be a `hub`.
    learned: likewise.
    period: as `l2o.lgl2o` takes it.

  Raises:
    InputError: as in `l2o.rule` and `l2o.lgl2o`.
  """

  def diagnostics(state: GuardState) -> Metrics:
    return {
      name: getattr(state, name) for name in ('taken_hand_designed', 'taken_learned', 'skipped')
    }

  return two_sided(hand_designed, learned, partial(lgl2o, period=period), diagnostics)

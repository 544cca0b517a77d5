"""HUB: two complete optimizers, one hand-designed and one learned, mixed entry by entry.

Both see the same gradient g, and both states always advance:

    U = w(g) ⊙ U_H(g, state_H) + (1 - w(g)) ⊙ U_L(g, state_L)

The weightings w are in `l2o.rules.hub.weightings`.

Source: "HUB: Enhancing Learned Optimizers via Hybrid Update-based Strategy", arXiv 2305.16823.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.rules.contract import NOT_COMPLEX, strict
from l2o.rules.hub.weightings import Weighting
from l2o.rules.hub.weightings import weighting as build_weighting
from l2o.trees import layer_norms
from l2o.types import Params, PyTree


class WeightStatistics(NamedTuple):
  """Statistics of the last step's weights, layer by layer, for figures."""

  mean: jax.Array  # [layers] float32; 1 / n if vanilla and both sides are finite
  min: jax.Array  # [layers] float32
  max: jax.Array  # [layers] float32
  share: jax.Array  # [layers] float32, ‖w U_H‖ / (‖w U_H‖ + ‖(1 - w) U_L‖)


class HubState(NamedTuple):
  """State of a hub: the states of its two sides, and diagnostics."""

  hand_designed: PyTree
  learned: PyTree
  weights: WeightStatistics
  nonfinite_hand_designed: jax.Array  # [] int32, steps where this side's proposal was not finite
  nonfinite_learned: jax.Array  # [] int32, likewise


class _Spec(NamedTuple):
  """The arguments of `hub`, checked."""

  hand_designed: optax.GradientTransformationExtraArgs
  learned: optax.GradientTransformationExtraArgs
  weighting: Weighting


def hub(
  hand_designed: optax.GradientTransformation,
  learned: optax.GradientTransformation,
  weighting: str | Mapping[str, Any] | Weighting = 'vanilla',
) -> optax.GradientTransformationExtraArgs:
  """Mixes two optimizers' updates by a weight per entry; the formula is in the module's docstring.

  Where one side's proposal is not finite, the other's is taken alone; where neither is, the entry
  stays as it is. This is decided per entry: a division by zero in one coordinate costs only that
  coordinate, and a proposal that is not finite throughout a layer is replaced throughout. A side
  whose state has become NaN stays out for good; the counts in the state show it.

  In a wide layer the softmax is close to 1 / n, so that `vanilla` is almost the learned optimizer
  and `inverted` almost the hand-designed one; `clipping` keeps both. A parameter with a single
  entry has softmax 1: under `vanilla` only the hand-designed optimizer moves it.

  Args:
    hand_designed: any optax transformation.
    learned: any other, for example a bound rule.
    weighting: a name ('vanilla', 'inverted', 'block_wise'), a block of a config such as
      `{'name': 'clipping', 'low': 0.1, 'high': 0.9}`, or a function of the gradients that returns
      the hand-designed side's weights in [0, 1].

  Returns:
    A transformation whose state is a `HubState`. `update` passes `value` and all other keywords to
    both sides, and returns updates in the parameters' dtype.

  Raises:
    InputError: a weighting that does not exist or does not take these arguments.

  Example:
    >>> params = {'w': jnp.array([1.0, 2.0])}
    >>> tx = hub(optax.sgd(1.0), optax.sgd(3.0), weighting='inverted')
    >>> grads = {'w': jnp.array([0.5, 0.5])}
    >>> updates, state = tx.update(grads, tx.init(params), params, value=jnp.array(0.7))
    >>> updates
    {'w': Array([-1., -1.], dtype=float32)}
    >>> state.weights.mean
    Array([0.5], dtype=float32)
  """
  sides = optax.with_extra_args_support(hand_designed), optax.with_extra_args_support(learned)
  spec = _Spec(*sides, build_weighting(weighting))
  return strict('hub', partial(_init, spec), partial(_update, spec), trains=NOT_COMPLEX)


def _init(spec: _Spec, params: Params) -> HubState:
  return HubState(
    hand_designed=spec.hand_designed.init(params),
    learned=spec.learned.init(params),
    weights=_no_statistics(len(jax.tree.leaves(params))),
    nonfinite_hand_designed=jnp.zeros((), jnp.int32),
    nonfinite_learned=jnp.zeros((), jnp.int32),
  )


def _update(
  spec: _Spec, grads: PyTree, state: HubState, params: Params | None = None, **extra: Any
) -> tuple[PyTree, HubState]:
  first, first_state = spec.hand_designed.update(grads, state.hand_designed, params, **extra)
  second, second_state = spec.learned.update(grads, state.learned, params, **extra)
  updates, statistics, nonfinite = _combine(spec.weighting(grads), first, second)
  updates = optax.tree.cast_like(updates, grads if params is None else params)
  return updates, HubState(
    hand_designed=first_state,
    learned=second_state,
    weights=statistics,
    nonfinite_hand_designed=state.nonfinite_hand_designed + nonfinite[0],
    nonfinite_learned=state.nonfinite_learned + nonfinite[1],
  )


def _combine(
  weights: PyTree, hand_designed: PyTree, learned: PyTree
) -> tuple[PyTree, WeightStatistics, jax.Array]:
  """The mixture in float32, the weights' statistics, and which sides were not finite: [2] int32."""
  treedef = jax.tree.structure(weights)
  layers = [
    _combine_layer(*leaves)
    for leaves in zip(*map(jax.tree.leaves, (weights, hand_designed, learned)), strict=True)
  ]
  if not layers:
    return weights, _no_statistics(0), jnp.zeros((2,), jnp.int32)
  used, parts, nonfinite = zip(*layers, strict=True)
  updates = jax.tree.unflatten(treedef, [sum(pair) for pair in parts])
  return updates, _statistics(used, parts), jnp.any(jnp.stack(nonfinite), axis=0).astype(jnp.int32)


def _combine_layer(
  weight: jax.Array, hand_designed: jax.Array, learned: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array], jax.Array]:
  """One layer's effective weights, the two terms of its update, and which sides were not finite."""
  sound_first, sound_second = jnp.isfinite(hand_designed), jnp.isfinite(learned)
  # Selected before they are multiplied: 0 * NaN is NaN, in the value and in the derivative.
  hand_designed = jnp.where(sound_first, hand_designed, 0.0).astype(jnp.float32)
  learned = jnp.where(sound_second, learned, 0.0).astype(jnp.float32)
  weight = jnp.where(sound_first & sound_second, weight, sound_first.astype(jnp.float32))
  parts = (weight * hand_designed, (1.0 - weight) * learned)
  return weight, parts, ~jnp.stack([jnp.all(sound_first), jnp.all(sound_second)])


def _no_statistics(layers: int) -> WeightStatistics:
  return WeightStatistics(*(jnp.zeros((layers,), jnp.float32) for _ in WeightStatistics._fields))


def _statistics(
  weights: Sequence[jax.Array], parts: Sequence[tuple[jax.Array, jax.Array]]
) -> WeightStatistics:
  """Each layer's mean, smallest and largest weight, and the share of the update's norm."""
  hand, learned = (layer_norms(list(side)) for side in zip(*parts, strict=True))
  total = hand + learned
  share = jnp.where(total > 0, hand / jnp.where(total > 0, total, 1.0), 0.0)
  return WeightStatistics(
    mean=jnp.stack([jnp.sum(w) / max(w.size, 1) for w in weights]),
    min=jnp.stack([jnp.min(w, initial=1.0) for w in weights]),
    max=jnp.stack([jnp.max(w, initial=0.0) for w in weights]),
    share=share,
  )

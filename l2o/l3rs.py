"""L3RS: a tiny network mixes the directions of base optimizers, layer by layer.

Source: Kristiansen et al., "Narrowing the Focus: Learned Optimizers for Pretrained Models",
arXiv 2408.09310. What the paper leaves open is marked (ours).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o import features
from l2o.directions import direction
from l2o.errors import InputError
from l2o.types import LearnedRule, Params, PyTree, Theta

STATISTICS = 3  # log ‖w‖, log ‖g‖, loss
RELATIVE_TIMES = 11


class L3RSState(NamedTuple):
  """State of a bound L3RS: beside the base optimizers' own, nothing per parameter."""

  step: jax.Array  # [] int32, steps done
  ema: jax.Array  # [layers, STATISTICS, gammas] float32, not bias-corrected
  mu: jax.Array  # [layers, P] float32, the last step's mixture, kept to be looked at
  step_norm: jax.Array  # [layers] float32, lambda of the last step, likewise
  base: tuple  # the base optimizers' states


def l3rs(
  directions: Sequence[str | Mapping[str, Any]] = ('sgd', 'adam'),
  gammas: Sequence[float] = (0.0, 0.9, 0.99),
  betas: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1),
  embedding_size: int = 16,
  hidden: Sequence[int] = (32, 16),
  embedding_std: float = 0.3,
  output_scale: float = 0.1,
  log_step_norm: float = -3.0,
) -> LearnedRule:
  """The learned layer-wise learning-rate scheduler.

  For layer l and base optimizers p = 1..P with update directions d_p:

      delta_l = lambda_l * sum_p mu_{l,p} * d_{l,p} / ‖d_{l,p}‖₂
      mu_l = softmax(z_l[1..P]),  lambda_l = exp(z_l[P+1]),  z_l = MLP(features_l)

  so lambda_l bounds the norm of the layer's step and mu_l is a convex mixture. The MLP is shared
  by all layers; features are the moving averages of log ‖w‖, log ‖g‖ and the loss, relative and
  absolute time, the layer's learned embedding, and log ‖d_p‖. A direction that is exactly zero
  contributes zero (ours). Non-finite gradients give non-finite updates, as optax's rules do.

  Args:
    directions: base optimizers, each a name or `{'name': …, 'learnable': (…), **kwargs}`.
    gammas: decay factors of the moving averages.
    betas: scales of absolute time.
    embedding_size: length of a layer's embedding.
    hidden: widths of the MLP's hidden layers.
    embedding_std: standard deviation of the initial embeddings (ours).
    output_scale: factor on the output layer's initial weights (ours).
    log_step_norm: initial bias of log lambda (ours).

  Returns:
    A rule whose theta is `{'mlp', 'embedding': {path: [embedding_size]}, 'directions'}`.

  Raises:
    InputError: no directions, or one that does not exist; at `init` of a bound rule, a layer
      that theta has no embedding for.

  Example:
    >>> params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> rule = l3rs(('sgd', 'adam'))
    >>> theta = rule.init(jax.random.key(0), params)
    >>> tx = rule.bind(theta, num_steps=10)
    >>> grads = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> updates, state = tx.update(grads, tx.init(params), params, value=jnp.array(0.7))
    >>> float(jnp.linalg.norm(updates['kernel'])) <= float(state.step_norm[1])
    True
    >>> updates['bias']
    Array([0., 0.], dtype=float32)
  """
  if not directions:
    raise InputError("l3rs needs at least one direction, for example ('sgd', 'adam')")
  base = tuple(direction(d) for d in directions)
  keys = tuple(f'{i}_{d.name}' for i, d in enumerate(base))
  size = STATISTICS * len(gammas) + RELATIVE_TIMES + len(betas) + embedding_size + len(base)

  def init(key: jax.Array, params: Params) -> Theta:
    mlp_key, embedding_key = jax.random.split(key)
    paths = features.layer_paths(params)
    rows = embedding_std * jax.random.normal(embedding_key, (len(paths), embedding_size))
    mlp = _mlp_init(mlp_key, (size, *hidden, len(base) + 1))
    output = mlp[f'dense_{len(hidden)}']
    output['kernel'] *= output_scale
    output['bias'] = output['bias'].at[-1].set(log_step_norm)
    return {
      'mlp': mlp,
      'embedding': dict(zip(paths, rows, strict=True)),
      'directions': {k: d.init() for k, d in zip(keys, base, strict=True)},
    }

  def bind(theta: Theta, num_steps: Any) -> optax.GradientTransformationExtraArgs:
    bound = tuple(d.bind(theta['directions'][k]) for k, d in zip(keys, base, strict=True))
    times = features.absolute_time(num_steps, betas)

    def network(state: L3RSState, stats: jax.Array, norms: jax.Array, paths: tuple) -> tuple:
      step = state.step + 1
      ema = features.ema_update(state.ema, stats, gammas)
      time = jnp.concatenate([features.relative_time(step, num_steps), times])
      columns = [
        features.ema_debias(ema, step, gammas).reshape(len(paths), -1),
        jnp.broadcast_to(time, (len(paths), time.size)),
        jnp.stack([theta['embedding'][path] for path in paths]),
        features.log_norm(norms),
      ]
      z = _mlp_apply(theta['mlp'], jnp.concatenate(columns, axis=1))
      return ema, jax.nn.softmax(z[:, :-1]), jnp.exp(z[:, -1])

    return _transformation(bound, network, len(gammas), theta['embedding'])

  return LearnedRule(init, bind, facts=lambda state: {'mu': state.mu, 'lambda': state.step_norm})


def _transformation(
  bound: tuple, network: Any, num_gammas: int, embedding: Mapping[str, Any]
) -> optax.GradientTransformationExtraArgs:
  """Eq. (2) around `network`: (state, statistics, norms, paths) -> (ema, mu, lambda)."""

  def init(params: Params) -> L3RSState:
    paths = features.layer_paths(params)
    if missing := sorted(set(paths) - set(embedding)):
      raise InputError(
        f'theta was not meta-trained for layer {", ".join(missing)}: it has embeddings for '
        f'{", ".join(sorted(embedding))}'
      )
    wide = optax.tree.cast(params, jnp.float32)
    return L3RSState(
      step=jnp.zeros((), jnp.int32),
      ema=jnp.zeros((len(paths), STATISTICS, num_gammas), jnp.float32),
      mu=jnp.zeros((len(paths), len(bound)), jnp.float32),
      step_norm=jnp.zeros((len(paths),), jnp.float32),
      base=tuple(tx.init(wide) for tx in bound),
    )

  def update(
    grads: PyTree, state: L3RSState, params: Params | None = None, *, value: Any, **extra: Any
  ) -> tuple:
    del extra
    if params is None:
      raise ValueError('l3rs needs the parameters: call update(grads, state, params, value=loss)')
    paths = features.layer_paths(grads)
    if not paths:
      return grads, state._replace(step=state.step + 1)
    wide, wide_params = optax.tree.cast((grads, params), jnp.float32)
    steps = [tx.update(wide, s, wide_params) for tx, s in zip(bound, state.base, strict=True)]
    proposals, base_states = zip(*steps, strict=True)
    norms = jnp.stack([features.layer_norms(d) for d in proposals], axis=1)
    ema, mu, step_norm = network(state, _statistics(wide_params, wide, value), norms, paths)
    # A zero direction has no unit vector: it contributes nothing, and 0 / 0 never arises.
    scale = step_norm[:, None] * mu * jnp.where(norms > 0, 1.0 / jnp.where(norms > 0, norms, 1), 0)
    updates = _mix(scale, proposals, grads)
    return updates, L3RSState(state.step + 1, ema, mu, step_norm, base_states)

  return optax.GradientTransformationExtraArgs(init, update)


def _statistics(params: Params, grads: PyTree, loss: Any) -> jax.Array:
  """log ‖w‖, log ‖g‖ and the loss of each layer: [layers, STATISTICS]."""
  w = features.log_norm(features.layer_norms(params))
  g = features.log_norm(features.layer_norms(grads))
  return jnp.stack([w, g, jnp.broadcast_to(jnp.asarray(loss, jnp.float32), w.shape)], axis=1)


def _mix(scale: jax.Array, proposals: Sequence[PyTree], like: PyTree) -> PyTree:
  """sum_p scale[l, p] * d_{l,p}, in the dtype of `like`."""
  leaves = [jax.tree.leaves(d) for d in proposals]
  mixed = []
  for layer, (leaf, parts) in enumerate(
    zip(jax.tree.leaves(like), zip(*leaves, strict=True), strict=True)
  ):
    total = sum(scale[layer, p] * part for p, part in enumerate(parts))
    mixed.append(jnp.asarray(total, leaf.dtype))
  return jax.tree.unflatten(jax.tree.structure(like), mixed)


def _mlp_init(key: jax.Array, sizes: Sequence[int]) -> dict[str, dict[str, jax.Array]]:
  keys = jax.random.split(key, len(sizes) - 1)
  normal = jax.nn.initializers.lecun_normal()
  return {
    f'dense_{i}': {'kernel': normal(k, sizes[i : i + 2]), 'bias': jnp.zeros(sizes[i + 1])}
    for i, k in enumerate(keys)
  }


def _mlp_apply(mlp: Mapping[str, Mapping[str, jax.Array]], x: jax.Array) -> jax.Array:
  for i in range(len(mlp)):
    x = jax.nn.relu(x) if i else x
    x = x @ mlp[f'dense_{i}']['kernel'] + mlp[f'dense_{i}']['bias'][None]
  return x

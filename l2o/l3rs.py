"""L3RS: a tiny network mixes the directions of base optimizers, layer by layer.

For layer l (a leaf of the parameters) and base optimizers p = 1..P with update directions d_p:

    delta_l = lambda_l * sum_p mu_{l,p} * d_{l,p} / ‖d_{l,p}‖₂                              (2)
    mu_l = softmax(z_l[1..P]),  lambda_l = exp(z_l[P+1]),  z_l = MLP(features_l)

so lambda_l bounds the norm of the layer's step and mu_l is a convex mixture. One MLP serves all
layers; its features are moving averages of log ‖w‖, log ‖g‖ and the loss, relative and absolute
time, the layer's learned embedding, and log ‖d_p‖.

A direction of norm zero contributes zero (ours); norms are taken in float32, so entries below 1e-19
count as zero and entries above 1e19 overflow. Non-finite gradients give non-finite updates, as
optax's own rules do. The paper's other layer identities (none, one MLP a layer, global) are not
here yet.

Source: Kristiansen et al., "Narrowing the Focus: Learned Optimizers for Pretrained Models",
arXiv 2408.09310, sec. 4. What the paper leaves open is marked (ours).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o import features
from l2o.directions import Direction, direction
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


class _Spec(NamedTuple):
  """The arguments of `l3rs`, checked."""

  base: dict[str, Direction]
  gammas: tuple[float, ...]
  betas: tuple[float, ...]
  embedding_size: int
  hidden: tuple[int, ...]
  embedding_std: float
  output_scale: float
  log_step_norm: float


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
  """The learned layer-wise learning-rate scheduler; the formula is in the module's docstring.

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
    A rule with theta = `{'mlp': {'dense_i': {'kernel', 'bias'}}, 'embedding': {path:
    [embedding_size]}, 'directions': {name: {hyper-parameter: []}}}`.

  Raises:
    InputError: no directions, or one that does not exist; two layers of one path; at `init` of a
      bound rule, a layer that theta has no embedding for.

  Example:
    >>> params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> rule = l3rs(('sgd', 'adam'))
    >>> tx = rule.bind(rule.init(jax.random.key(0), params), num_steps=10)
    >>> grads = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> updates, state = tx.update(grads, tx.init(params), params, value=jnp.array(0.7))
    >>> updates['bias']
    Array([0., 0.], dtype=float32)
  """
  if not directions:
    raise InputError("l3rs needs at least one direction, for example ('sgd', 'adam')")
  built = [direction(d) for d in directions]
  names = [d.name for d in built]
  keys = [name if names.count(name) == 1 else f'{name}_{i}' for i, name in enumerate(names)]
  sizes = (tuple(gammas), tuple(betas), embedding_size, tuple(hidden))
  spec = _Spec(
    dict(zip(keys, built, strict=True)), *sizes, embedding_std, output_scale, log_step_norm
  )
  return LearnedRule(partial(_init, spec), partial(_bind, spec), partial(_facts, tuple(keys)))


def _init(spec: _Spec, key: jax.Array, params: Params) -> Theta:
  mlp_key, embedding_key = jax.random.split(key)
  paths = features.layer_paths(params)
  if len(set(paths)) < len(paths):
    raise InputError(f'two layers have one path, so they cannot be told apart: {sorted(paths)}')
  times = RELATIVE_TIMES + len(spec.betas)
  size = STATISTICS * len(spec.gammas) + times + spec.embedding_size + len(spec.base)
  mlp = _mlp_init(mlp_key, (size, *spec.hidden, len(spec.base) + 1))
  output = mlp[f'dense_{len(spec.hidden)}']
  output['kernel'] *= spec.output_scale
  output['bias'] = output['bias'].at[-1].set(spec.log_step_norm)
  rows = spec.embedding_std * jax.random.normal(embedding_key, (len(paths), spec.embedding_size))
  return {
    'mlp': mlp,
    'embedding': dict(zip(paths, rows, strict=True)),
    'directions': {name: d.init() for name, d in spec.base.items()},
  }


def _bind(spec: _Spec, theta: Theta, num_steps: Any) -> optax.GradientTransformationExtraArgs:
  # A direction without hyper-parameters to learn leaves no trace in a file.
  hyper = theta.get('directions', {})
  bound = tuple(d.bind(hyper.get(name, {})) for name, d in spec.base.items())
  horizon = features.absolute_time(num_steps, spec.betas)

  def network(state: L3RSState, stats: jax.Array, norms: jax.Array, paths: tuple) -> tuple:
    step = state.step + 1
    ema = features.ema_update(state.ema, stats, spec.gammas)
    time = jnp.concatenate([features.relative_time(step, num_steps), horizon])
    columns = [
      features.ema_debias(ema, step, spec.gammas).reshape(len(paths), -1),
      jnp.broadcast_to(time, (len(paths), time.size)),
      jnp.stack([theta['embedding'][path] for path in paths]),
      features.log_norm(norms),
    ]
    z = _mlp_apply(theta['mlp'], jnp.concatenate(columns, axis=1))
    return ema, jax.nn.softmax(z[:, :-1]), jnp.exp(z[:, -1])

  return _transformation(bound, network, len(spec.gammas), theta['embedding'])


def _facts(names: tuple[str, ...], state: L3RSState) -> dict[str, jax.Array]:
  mixture = {f'mu/{name}': state.mu[:, p] for p, name in enumerate(names)}
  return {'lambda': state.step_norm, **mixture}


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
    updates = _mix(scale, proposals, params)
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

"""L3RS: a tiny network mixes the directions of base optimizers, layer by layer.

For layer l (a leaf of the parameters) and base optimizers p = 1..P with update directions d_p:

    delta_l = lambda_l * sum_p mu_{l,p} * d_{l,p} / ‖d_{l,p}‖₂                              (2)
    mu_l = softmax(z_l[1..P]),  lambda_l = exp(z_l[P+1]),  z_l = MLP(features_l)

so lambda_l bounds the norm of the layer's step and mu_l is a convex mixture. One MLP serves all
layers; its features are moving averages of log ‖w‖, log ‖g‖ and the loss, relative and absolute
time, the layer's learned embedding, and log ‖d_p‖.

Four ways to tell layers apart (`identity`); the first is the paper's choice:

- embedding: a learned vector for each layer among its features;
- none: nothing beyond the other features;
- per_layer_mlp: a separate MLP for each layer, and no embedding;
- global: all layers as one, with one mu and one lambda: statistics are averaged over layers and
  norms taken over the whole tree.

A direction of norm zero contributes zero (ours); norms are taken in float32, so entries below 1e-19
count as zero and entries above 1e19 overflow. Non-finite gradients give non-finite updates, as
with optax's own optimizers.

Source: Kristiansen et al., "Narrowing the Focus: Learned Optimizers for Pretrained Models",
arXiv 2408.09310, sec. 4. What the paper leaves open is marked (ours).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.arguments import Count, Decay, NotNegative, Positive, checked
from l2o.errors import InputError
from l2o.registry import choose
from l2o.rules.contract import CALL, check_horizon, strict
from l2o.rules.l3rs import features
from l2o.rules.l3rs.directions import Bound, Direction, direction
from l2o.trees import layer_norms, layer_paths
from l2o.types import Horizon, LearnedRule, Metrics, Params, PyTree, Theta

STATISTICS = 3  # log ‖w‖, log ‖g‖, loss
RELATIVE_TIMES = 11
IDENTITIES = ('embedding', 'none', 'per_layer_mlp', 'global')
ON_MISMATCH = ('error', 'mean_embedding')


class L3RSState(NamedTuple):
  """State of a bound L3RS; only the base optimizers' states are per parameter."""

  step: jax.Array  # [] int32, steps done
  ema: jax.Array | None  # [layers or 1, STATISTICS, gammas] float32, not bias-corrected
  mu: jax.Array  # [layers, P] float32, the last step's mixture, for diagnostics
  step_norm: jax.Array  # [layers] float32, the last step's lambda, likewise
  base: tuple[PyTree, ...]  # the base optimizers' states


class _Spec(NamedTuple):
  """The arguments of `l3rs`, checked."""

  base: dict[str, Direction]
  identity: str
  gammas: tuple[float, ...]
  betas: tuple[float, ...]
  embedding_size: int
  hidden: tuple[int, ...]
  embedding_std: float
  output_scale: float
  log_step_norm: float


@checked
def l3rs(
  directions: Sequence[str | Mapping[str, Any]] = ('sgd', 'adam'),
  identity: str = 'embedding',
  gammas: Sequence[Decay] = (0.0, 0.9, 0.99),
  betas: Sequence[Positive] = (1e-4, 1e-3, 1e-2, 1e-1),
  embedding_size: Count = 16,
  hidden: Sequence[Count] = (32, 16),
  embedding_std: NotNegative = 0.3,
  output_scale: float = 0.1,
  log_step_norm: float = -3.0,
) -> LearnedRule:
  """The learned layer-wise learning-rate scheduler; the formula is in the module's docstring.

  Args:
    directions: base optimizers, each a name or `{'name': …, 'learnable': (…), **kwargs}`.
    identity: how layers are told apart: 'embedding', 'none', 'per_layer_mlp' or 'global'.
    gammas: decay factors of the moving averages, from 0 to below 1.
    betas: scales of absolute time, above 0.
    embedding_size: length of a layer's embedding.
    hidden: widths of the MLP's hidden layers.
    embedding_std: standard deviation of the initial embeddings (ours).
    output_scale: factor on the output layer's initial weights (ours).
    log_step_norm: initial bias of log lambda (ours).

  Returns:
    A rule with theta = `{'mlp': {'dense_i': {'kernel', 'bias'}}, 'embedding': {path:
    [embedding_size]}, 'directions': {name: {hyper-parameter: []}}}`. 'embedding' exists only
    with that identity; with 'per_layer_mlp', 'mlp' is a dict from path to an MLP.

  Raises:
    InputError: no directions, or one that does not exist; unknown identity; a number out of bounds;
      two layers with the same path; at `init` of a bound rule, a layer that theta does not know.

  Example:
    >>> params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> rule = l3rs(('sgd', 'adam'))
    >>> tx = rule.bind(rule.init(jax.random.key(0), params), num_steps=10)
    >>> grads = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> updates, state = tx.update(grads, tx.init(params), params, value=jnp.array(0.7))
    >>> bool(jnp.linalg.norm(updates['kernel']) <= state.step_norm[1] * 1.0001)
    True
  """
  spec = _check(
    directions, identity, gammas, betas, embedding_size, hidden, embedding_std, output_scale,
    log_step_norm,
  )  # fmt: skip
  names = tuple(spec.base)
  return LearnedRule(
    partial(_init, spec),
    partial(_bind, spec),
    partial(_diagnostics, names),
    partial(_retarget, spec),
  )


def _check(
  directions: Sequence[str | Mapping[str, Any]],
  identity: str,
  gammas: Sequence[float],
  betas: Sequence[float],
  embedding_size: int,
  hidden: Sequence[int],
  *initial: float,
) -> _Spec:
  if not directions:
    raise InputError("l3rs needs at least one direction, for example ('sgd', 'adam')")
  choose(identity, IDENTITIES, 'layer identity')
  built = [direction(d) for d in directions]
  names = [d.name for d in built]
  keys = [name if names.count(name) == 1 else f'{name}_{i}' for i, name in enumerate(names)]
  base = dict(zip(keys, built, strict=True))
  sizes = tuple(gammas), tuple(betas), embedding_size, tuple(hidden)
  return _Spec(base, identity, *sizes, *initial)


def _init(spec: _Spec, key: jax.Array, params: Params) -> Theta:
  mlp_key, embedding_key = jax.random.split(key)
  paths = layer_paths(params)
  if len(set(paths)) < len(paths):
    double = sorted({path for path in paths if paths.count(path) > 1})
    raise InputError(
      f'two layers have the same path, so they cannot be told apart: {", ".join(double)}; rename '
      f'one of them'
    )
  theta: dict[str, Any] = {'directions': {name: d.init() for name, d in spec.base.items()}}
  if spec.identity == 'embedding':
    rows = jax.random.normal(embedding_key, (len(paths), spec.embedding_size))
    theta['embedding'] = dict(zip(paths, spec.embedding_std * rows, strict=True))
  if spec.identity == 'per_layer_mlp':
    keys = jax.random.split(mlp_key, len(paths))
    theta['mlp'] = {path: _mlp_init(spec, k) for path, k in zip(paths, keys, strict=True)}
  else:
    theta['mlp'] = _mlp_init(spec, mlp_key)
  return theta


def _bind(spec: _Spec, theta: Theta, num_steps: Horizon) -> optax.GradientTransformationExtraArgs:
  check_horizon('l3rs', num_steps)
  # A file has no entry for directions without learnable hyper-parameters.
  hyper = theta.get('directions', {})
  bound = tuple(d.bind(hyper.get(name, {})) for name, d in spec.base.items())
  horizon = features.absolute_time(num_steps, spec.betas)

  def network(
    ema: jax.Array | None, step: jax.Array, norms: jax.Array, paths: Sequence[str]
  ) -> tuple[jax.Array, jax.Array]:
    rows = len(norms)
    time = jnp.concatenate([features.relative_time(step, num_steps), horizon])
    columns = []
    if ema is not None:
      columns.append(features.ema_debias(ema, step, spec.gammas).reshape(rows, -1))
    columns.append(jnp.broadcast_to(time, (rows, time.size)))
    if spec.identity == 'embedding':
      columns.append(jnp.stack([theta['embedding'][path] for path in paths]))
    inputs = jnp.concatenate([*columns, features.log_norm(norms)], axis=1)
    if spec.identity == 'per_layer_mlp':
      mlps = jax.tree.map(lambda *x: jnp.stack(x), *[theta['mlp'][path] for path in paths])
      z = jax.vmap(lambda mlp, x: _mlp_apply(mlp, x[None])[0])(mlps, inputs)
    else:
      z = _mlp_apply(theta['mlp'], inputs)
    return jax.nn.softmax(z[:, :-1]), jnp.exp(z[:, -1])

  return _transformation(spec, bound, network, _known_layers(spec, theta))


def _known_layers(spec: _Spec, theta: Theta) -> Mapping[str, Any] | None:
  """Per-layer parts of theta, by path; None if it fits any layers."""
  if spec.identity == 'per_layer_mlp':
    return theta['mlp']
  return theta['embedding'] if spec.identity == 'embedding' else None


def _retarget(spec: _Spec, theta: Theta, params: Params, on_mismatch: str = 'error') -> Theta:
  """theta for other parameters: the layers must match, or new ones get the mean embedding."""
  choose(on_mismatch, ON_MISMATCH, 'value of on_mismatch')
  known, paths = _known_layers(spec, theta), layer_paths(params)
  if known is None or set(known) == set(paths):
    return theta
  if on_mismatch == 'mean_embedding' and spec.identity == 'embedding':
    mean = jnp.mean(jnp.stack([jnp.asarray(row) for row in known.values()]), axis=0)
    return {**theta, 'embedding': {path: known.get(path, mean) for path in paths}}
  missing, extra = sorted(set(paths) - set(known)), sorted(set(known) - set(paths))
  remedy = "; on_mismatch='mean_embedding' gives new layers the mean of the others"
  raise InputError(
    f'theta was meta-trained for other layers: it lacks {", ".join(missing) or "none"} and has '
    f'{", ".join(extra) or "none"} in addition{remedy if spec.identity == "embedding" else ""}'
  )


def _diagnostics(names: tuple[str, ...], state: L3RSState) -> Metrics:
  mixture = {f'mu/{name}': state.mu[:, p] for p, name in enumerate(names)}
  return {'lambda': state.step_norm, **mixture}


def _transformation(
  spec: _Spec, bound: tuple[Bound, ...], network: Any, known: Mapping[str, Any] | None
) -> optax.GradientTransformationExtraArgs:
  """Eq. (2) around `network`: (averages, step, norms, paths) -> (mu, lambda)."""
  one = spec.identity == 'global'

  def init(params: Params) -> L3RSState:
    paths = layer_paths(params)
    if known is not None and (missing := sorted(set(paths) - set(known))):
      raise InputError(
        f'theta was not meta-trained for layer {", ".join(missing)}: it knows '
        f'{", ".join(sorted(known))}'
      )
    wide = optax.tree.cast(params, jnp.float32)
    rows = min(len(paths), 1) if one else len(paths)
    return L3RSState(
      step=jnp.zeros((), jnp.int32),
      # None rather than an array of size zero, which Orbax does not save.
      ema=jnp.zeros((rows, STATISTICS, len(spec.gammas))) if spec.gammas else None,
      mu=jnp.zeros((len(paths), len(bound)), jnp.float32),
      step_norm=jnp.zeros((len(paths),), jnp.float32),
      base=tuple(base.init(wide) for base in bound),
    )

  def update(
    grads: PyTree, state: L3RSState, params: Params, *, value: Any, **extra: Any
  ) -> tuple[PyTree, L3RSState]:
    del extra
    paths = layer_paths(grads)
    if not paths:
      return grads, state._replace(step=state.step + 1)
    wide, wide_params = (optax.tree.cast(x, jnp.float32) for x in (grads, params))
    steps = [
      base.advance(wide, s, wide_params, value) for base, s in zip(bound, state.base, strict=True)
    ]
    sources, base_states = zip(*steps, strict=True)
    norms = jnp.stack([layer_norms(d) for d in _emit(bound, sources)], axis=1)
    stats = _statistics(wide_params, wide, value)
    if one:
      norms = jnp.sqrt(jnp.sum(norms**2, axis=0, keepdims=True))
      stats = jnp.mean(stats, axis=0, keepdims=True)
    step = state.step + 1
    ema = None if state.ema is None else features.ema_update(state.ema, stats, spec.gammas)
    mu, step_norm = network(ema, step, norms, paths)
    # A zero direction has no unit vector: it contributes nothing, and 0 / 0 never arises.
    scale = step_norm[:, None] * mu * jnp.where(norms > 0, 1.0 / jnp.where(norms > 0, norms, 1), 0)
    layers = (len(paths), len(bound))
    # The barrier makes the second `emit` recompute: the compiler would store the first result.
    sources, scale = jax.lax.optimization_barrier((sources, jnp.broadcast_to(scale, layers)))
    updates = _mix(scale, _emit(bound, sources), params)
    shown = jnp.broadcast_to(mu, layers), jnp.broadcast_to(step_norm, layers[:1])
    return updates, L3RSState(step, ema, *shown, base_states)

  return strict('l3rs', init, update, CALL)


def _emit(bound: Sequence[Bound], sources: Sequence[PyTree]) -> list[PyTree]:
  return [base.emit(source) for base, source in zip(bound, sources, strict=True)]


def _statistics(params: Params, grads: PyTree, loss: Any) -> jax.Array:
  """log ‖w‖, log ‖g‖ and the loss of each layer: [layers, STATISTICS]."""
  w = features.log_norm(layer_norms(params))
  g = features.log_norm(layer_norms(grads))
  return jnp.stack([w, g, jnp.broadcast_to(jnp.asarray(loss, jnp.float32), w.shape)], axis=1)


def _mix(scale: jax.Array, emitted: Sequence[PyTree], like: PyTree) -> PyTree:
  """sum_p scale[l, p] * d_{l,p} from the emitted -d, in the dtype of `like`."""
  leaves = [jax.tree.leaves(d) for d in emitted]
  mixed = []
  for layer, (leaf, parts) in enumerate(
    zip(jax.tree.leaves(like), zip(*leaves, strict=True), strict=True)
  ):
    total = -sum(scale[layer, p] * part for p, part in enumerate(parts))
    mixed.append(jnp.asarray(total, leaf.dtype))
  return jax.tree.unflatten(jax.tree.structure(like), mixed)


def _mlp_init(spec: _Spec, key: jax.Array) -> dict[str, dict[str, jax.Array]]:
  times = RELATIVE_TIMES + len(spec.betas)
  identity = spec.embedding_size if spec.identity == 'embedding' else 0
  size = STATISTICS * len(spec.gammas) + times + identity + len(spec.base)
  sizes = (size, *spec.hidden, len(spec.base) + 1)
  normal = jax.nn.initializers.lecun_normal()
  mlp = {
    f'dense_{i}': {'kernel': normal(k, sizes[i : i + 2]), 'bias': jnp.zeros(sizes[i + 1])}
    for i, k in enumerate(jax.random.split(key, len(sizes) - 1))
  }
  output = mlp[f'dense_{len(spec.hidden)}']
  output['kernel'] *= spec.output_scale
  output['bias'] = output['bias'].at[-1].set(spec.log_step_norm)
  return mlp


def _mlp_apply(mlp: Mapping[str, Mapping[str, jax.Array]], x: jax.Array) -> jax.Array:
  for i in range(len(mlp)):
    x = jax.nn.relu(x) if i else x
    x = x @ mlp[f'dense_{i}']['kernel'] + mlp[f'dense_{i}']['bias'][None]
  return x

"""The contract between a bound rule and its caller, enforced in one place for all rules.

Misuse is refused with one sentence before anything is computed: a missing or non-scalar loss,
gradients or a state of another tree, parameters that a rule cannot train, a horizon below 1. Every
leaf of a new state has its own buffer, so that a loop may donate state and parameters without
donating a buffer twice, or theta with them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l2o.errors import InputError
from l2o.trees import layer_paths
from l2o.types import Params, PyTree

CALL = 'update(grads, state, params, value=loss)'
PARAMS_CALL = 'update(grads, state, params)'
REAL = (jnp.floating,)
REAL_OR_COMPLEX = (jnp.inexact,)
NOT_COMPLEX = (jnp.floating, jnp.integer, jnp.bool_)  # integers may be frozen inside
ANY = (jnp.generic,)
REMEDIES = {
  True: 'train its real and its imaginary part as two layers',
  False: 'keep it out of the parameters or freeze it',
}


def strict(
  name: str,
  init: Callable[[Params], PyTree],
  update: Callable[..., tuple[PyTree, PyTree]],
  call: str = '',
  trains: tuple[Any, ...] = REAL,
) -> optax.GradientTransformationExtraArgs:
  """A transformation that checks how it is called.

  Args:
    name: the rule's name, for error messages.
    init: params -> state.
    update: (grads, state, params, **extra) -> (updates, state).
    call: how to call `update`, for error messages; given for a rule that needs the parameters
      and, unless this is `PARAMS_CALL`, the loss.
    trains: dtypes that the parameters may have.

  Raises:
    InputError: at `init` and `update`, parameters of another dtype; at `update`, gradients or a
      state that do not match the parameters, and with `call` no parameters or no scalar `value`.

  Example:
    >>> sgd = optax.sgd(0.1)
    >>> update = lambda grads, state, params, value: sgd.update(grads, state)
    >>> tx = strict('mine', sgd.init, update, call=CALL)
    >>> params = {'w': jnp.ones(3)}
    >>> tx.update(params, tx.init(params), params)
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: mine needs the loss: call update(grads, state, params, value=loss)
  """

  def own(params: Params) -> PyTree:
    _check_numbers(name, params, trains)
    leaves, treedef = jax.tree.flatten(init(params))
    for i, leaf in enumerate(leaves):  # in place, so the whole state never exists twice
      leaves[i] = jnp.copy(leaf)
    return jax.tree.unflatten(treedef, leaves)

  def checked(
    updates: PyTree, state: PyTree, params: Params | None = None, **extra: Any
  ) -> tuple[PyTree, PyTree]:
    if call:
      _check_call(name, call, params, extra.get('value'))
    like = updates if params is None else params
    _check_same_tree(f'{name}: the gradients do not match the parameters', updates, like)
    for tree in (like, updates):
      _check_numbers(name, tree, trains)
    _check_real(name, updates, like)
    new = jax.eval_shape(init, like)
    _check_same_tree(
      f'{name}: the state does not match the parameters (call init again)', state, new
    )
    return update(updates, state, params, **extra)

  return optax.GradientTransformationExtraArgs(own, checked)


def check_horizon(name: str, num_steps: Any) -> None:
  """Raises InputError if K is concrete and not a whole number of at least 1.

  Example:
    >>> check_horizon('l3rs', 0)
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: l3rs: num_steps (K) must be a whole number of at least 1, not 0
  """
  if isinstance(num_steps, jax.core.Tracer):
    return
  K = np.asarray(num_steps)
  if K.shape or K.dtype.kind not in 'iuf' or not (K >= 1 and K == np.floor(K) < np.inf):
    raise InputError(f'{name}: num_steps (K) must be a whole number of at least 1, not {num_steps}')


def check_scalar(what: str, value: Any) -> None:
  """Raises InputError if `value` is not a scalar."""
  if shape := np.shape(value):
    raise InputError(f'{what} must be a scalar, not of shape {shape}: take its mean or its sum')


def _check_call(name: str, call: str, params: Params | None, value: Any) -> None:
  if params is None:
    raise InputError(f'{name} needs the parameters: call {call}')
  if call == PARAMS_CALL:
    return
  if value is None:
    raise InputError(f'{name} needs the loss: call {call}')
  check_scalar(f'{name}: the loss', value)


def _check_numbers(name: str, tree: PyTree, trains: tuple[Any, ...]) -> None:
  if trains is ANY:
    return
  for path, leaf in zip(layer_paths(tree), jax.tree.leaves(tree), strict=True):
    if not any(jnp.issubdtype(_dtype(leaf), kind) for kind in trains):
      remedy = REMEDIES[_is_complex(leaf)]
      raise InputError(f'{name} cannot train layer {path} of type {_dtype(leaf)}: {remedy}')


def _check_real(name: str, grads: PyTree, params: Params) -> None:
  pairs = zip(layer_paths(grads), jax.tree.leaves(grads), jax.tree.leaves(params), strict=True)
  for path, grad, param in pairs:
    if _is_complex(grad) and not _is_complex(param):
      raise InputError(f'{name}: the gradient of layer {path} is complex, but the layer is real')


def _is_complex(leaf: Any) -> bool:
  return bool(jnp.issubdtype(_dtype(leaf), jnp.complexfloating))


def _dtype(leaf: Any) -> Any:
  return leaf.dtype if hasattr(leaf, 'dtype') else jnp.result_type(leaf)


def _check_same_tree(what: str, tree: PyTree, like: PyTree) -> None:
  shapes, wanted = ([np.shape(x) for x in jax.tree.leaves(t)] for t in (tree, like))
  kinds: list[Any] = [jax.tree.structure(t) for t in (tree, like)]
  if shapes == wanted and kinds[0] == kinds[1]:
    return
  paths, wanted_paths = layer_paths(tree), layer_paths(like)
  missing = [path for path in wanted_paths if path not in set(paths)]
  extra = [path for path in paths if path not in set(wanted_paths)]
  if missing or extra:
    lists = (', '.join(found) or 'none' for found in (missing, extra))
    raise InputError('{}: missing {}; unknown {}'.format(what, *lists))
  if paths != wanted_paths or shapes == wanted:
    raise InputError(
      f'{what}: the layers have the same names, but the trees differ in type or order'
    )
  path, shape, right = next(
    found for found in zip(paths, shapes, wanted, strict=True) if found[1] != found[2]
  )
  raise InputError(f'{what}: {path} has the shape {shape}, not {right}')

"""Released weights of learned optimizers, from the files they were released in: flax's msgpack.

The names of the arrays identify the rule's family, and their shapes the rule's arguments.
"""

import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from l2o.artifacts.arrays_file import is_real, leaves, mismatches
from l2o.errors import InputError, first_line
from l2o.rules.per_parameter.shapes import (
  VELO_FEATURES,
  adafac_mlp_lopt_shapes,
  celo2_shapes,
  mlp_lopt_shapes,
  velo_shapes,
)
from l2o.types import Params, Theta


class _Format(NamedTuple):
  """The weights of one family of rules."""

  title: str
  begins: tuple[str, ...]  # first parts of array names; the first format with a match applies
  telling: tuple[tuple[str, int], ...]  # (array, axis): the lengths of these axes are the sizes
  shapes: Callable[..., Theta]  # the sizes -> the shapes of all arrays
  sizes: tuple[str, ...]  # arguments of the rule; VeLO's extra first size tells the rule
  rules: tuple[str, ...]  # that take such weights; a file holds the first's (VeLO: see sizes)


VELO = _Format(
  'VeLO or Celo',
  ('lstm_init_state', 'rnn_params'),
  (('rnn_params/linear/w', 0), ('lstm_init_state/hidden', 1), ('ff_mod_stack/~/b0', 0)),
  velo_shapes,
  ('lstm_width', 'bank_size'),
  ('velo', 'celo'),
)
FORMATS = (
  VELO,
  _Format(
    'Celo2',
    ('ff_mod_stack',),
    (('ff_mod_stack/~/b0', 0),),
    celo2_shapes,
    ('hidden_size',),
    ('celo2', 'celo2_base'),
  ),
  _Format(
    'MLPLOpt',
    ('mlp',),
    (('mlp/~/linear_0/b', 0),),
    mlp_lopt_shapes,
    ('hidden_size',),
    ('mlp_lopt',),
  ),
  _Format(
    'AdafacMLPLOpt',
    ('nn',),
    (('nn/~/b0', 0),),
    adafac_mlp_lopt_shapes,
    ('hidden_size',),
    ('adafac_mlp_lopt',),
  ),
)
RULES = tuple(name for known in FORMATS for name in known.rules)  # that take `weights`
TITLES = f'{", ".join(known.title for known in FORMATS[:-1])} or {FORMATS[-1].title}'


def load_theta(path: str | os.PathLike[str]) -> Theta:
  """Reads released weights, or others in their format (flax msgpack).

  Args:
    path: the file.

  Returns:
    theta, for a rule of the same family and widths; a key `rnn/linear` becomes two nested keys.

  Raises:
    InputError: no such file, or weights that are missing, extra or of a shape that contradicts the
      others; the message names them.

  Example:
    >>> import l2o
    >>> theta = load_theta('celo.msgpack')  # doctest: +SKIP
    >>> tx = l2o.rule('celo').bind(theta, num_steps=1000)  # doctest: +SKIP
  """
  return load_released(path)[0]


def load_released(path: str | os.PathLike[str]) -> tuple[Theta, dict[str, Any]]:
  """`load_theta`, plus the name and arguments of the rule that these shapes belong to.

  Shapes determine neither VeLO's `interpolation` nor how Celo2 is used: these keep their defaults.
  """
  try:
    tree = flax.serialization.msgpack_restore(pathlib.Path(path).read_bytes())
  except Exception as error:  # msgpack and flax raise almost anything on damaged files
    raise InputError(
      f'{path} holds no learned optimizer: it is neither a file of l2o.save nor '
      f"weights in flax's msgpack format ({first_line(error)})"
    ) from error
  known = _format(tree)
  wrong = f'{path} holds no weights of {known.title if known else TITLES}'
  named = [('/'.join(map(str, keys)), leaf) for keys, leaf in leaves(tree)]
  found = dict(named)
  if strange := [name for name, x in named if not isinstance(x, np.ndarray) or not is_real(x)]:
    raise InputError(f'{wrong}: {strange[0]} is not an array of numbers')
  if len(found) < len(named):
    raise InputError(f'{wrong}: two of its arrays have the same name')
  if known is None:
    raise InputError(f'{wrong}: none of its arrays has a name that these formats use')
  with np.errstate(over='ignore'):
    found = {name: x.astype(np.float32) for name, x in found.items()}
  sizes = _sizes(known, tree, wrong)
  flat, treedef = jax.tree_util.tree_flatten_with_path(
    known.shapes(*sizes), is_leaf=lambda x: type(x) is tuple
  )
  wanted = {jax.tree_util.keystr(keys, simple=True, separator='/'): shape for keys, shape in flat}
  differences = mismatches(found, wanted)
  names = {number: name for name, number in VELO_FEATURES.items()}
  name = names.get(sizes[0], '') if known is VELO else known.rules[0]
  if not name:
    differences.insert(0, f'rnn_params/linear/w has {sizes[0]} features, not 30 or 18')
  if differences:
    raise InputError(f'{wrong}: {"; ".join(differences)}')
  theta = jax.tree.unflatten(treedef, [found[name] for name in wanted])
  return theta, {'name': name, **_arguments(known, sizes)}


def init_from(weights: str, *rules: str) -> Callable[[jax.Array, Params], Theta]:
  """The `init` of a rule that starts from released weights.

  Args:
    weights: the file.
    *rules: names of the rules whose weights it may hold; the first is the rule's own.

  Raises:
    InputError: when called, as in `load_theta`, or weights of another rule.
  """

  def init(key: jax.Array, params: Params) -> Theta:
    del key, params
    theta, held = load_released(weights)
    if held['name'] not in rules:
      raise InputError(f'{weights} holds weights of {held["name"]}, not of {rules[0]}')
    return jax.tree.map(jnp.asarray, theta)

  return init


def widths(name: str, theta: Theta) -> dict[str, int]:
  """The arguments of a rule of `RULES` that determine theta's shapes.

  Example:
    >>> import l2o
    >>> theta = l2o.rule('celo', lstm_width=8, bank_size=4).init(jax.random.key(0), {})
    >>> widths('celo', theta)
    {'lstm_width': 8, 'bank_size': 4}
  """
  known = next(known for known in FORMATS if name in known.rules)
  return _arguments(known, _sizes(known, theta, f'theta is not one of {known.title}'))


def _format(tree: Any) -> _Format | None:
  """The format that an array's name belongs to."""
  begins = {'/'.join(map(str, keys)).split('/')[0] for keys, _ in leaves(tree)}
  return next((known for known in FORMATS if begins & set(known.begins)), None)


def _arguments(known: _Format, sizes: list[int]) -> dict[str, int]:
  return dict(zip(known.sizes, sizes[-len(known.sizes) :], strict=True))


def _sizes(known: _Format, theta: Theta, wrong: str) -> list[int]:
  """The lengths from which all shapes follow."""
  found = {'/'.join(map(str, keys)): np.shape(leaf) for keys, leaf in leaves(theta)}
  for name, axis in known.telling:
    if len(found.get(name, ())) <= axis:
      raise InputError(f'{wrong}: {name} is missing or has too few axes')
  return [found[name][axis] for name, axis in known.telling]

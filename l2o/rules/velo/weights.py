"""Released weights of VeLO and Celo, from the files they were released in: flax's msgpack."""

import os
import pathlib
from typing import Any

import flax.serialization
import jax
import numpy as np

from l2o.artifacts.arrays_file import is_real, leaves, mismatches
from l2o.errors import InputError, first_line
from l2o.rules.velo.network import NUM_FEATURES, theta_shapes
from l2o.types import Theta

TELLING = (('rnn_params/linear/w', 0), ('lstm_init_state/hidden', 1), ('ff_mod_stack/~/b0', 0))


def load_theta(path: str | os.PathLike[str]) -> Theta:
  """Reads the released weights of VeLO or Celo, or others in their format (flax msgpack).

  Args:
    path: the file.

  Returns:
    theta, for a `velo` or `celo` of its widths; the key `rnn/linear` becomes two nested ones.

  Raises:
    InputError: no such file, or weights that are missing, extra or of a shape that contradicts the
      others; the message names them.

  Example:
    >>> theta = load_theta('celo.msgpack')  # doctest: +SKIP
    >>> tx = celo().bind(theta, num_steps=1000)  # doctest: +SKIP
  """
  return load_released(path)[0]


def load_released(path: str | os.PathLike[str]) -> tuple[Theta, dict[str, Any]]:
  """`load_theta`, with the name and arguments of the rule that these shapes belong to.

  Shapes do not determine `interpolation`: it is the rule's default.
  """
  try:
    tree = flax.serialization.msgpack_restore(pathlib.Path(path).read_bytes())
  except Exception as error:  # msgpack and flax raise almost anything on damaged files
    raise InputError(
      f'{path} holds no learned optimizer: it is neither a file of l2o.save nor '
      f"weights in flax's msgpack format ({first_line(error)})"
    ) from error
  wrong = f'{path} holds no weights of VeLO or Celo'
  named = [('/'.join(map(str, keys)), leaf) for keys, leaf in leaves(tree)]
  found = dict(named)
  if strange := [name for name, x in named if not isinstance(x, np.ndarray) or not is_real(x)]:
    raise InputError(f'{wrong}: {strange[0]} is not an array of numbers')
  if len(found) < len(named):
    raise InputError(f'{wrong}: two of its arrays have the same name')
  with np.errstate(over='ignore'):
    found = {name: x.astype(np.float32) for name, x in found.items()}
  features, width, bank = _sizes(tree, wrong)
  shapes = theta_shapes(features, width, bank)
  flat, treedef = jax.tree_util.tree_flatten_with_path(shapes, is_leaf=lambda x: type(x) is tuple)
  wanted = {jax.tree_util.keystr(keys, simple=True, separator='/'): shape for keys, shape in flat}
  names = {number: name for name, number in NUM_FEATURES.items()}
  differences = (
    [] if features in names else [f'rnn_params/linear/w has {features} features, not 30 or 18']
  )
  if differences := differences + mismatches(found, wanted):
    raise InputError(f'{wrong}: {"; ".join(differences)}')
  theta = jax.tree.unflatten(treedef, [found[name] for name in wanted])
  return theta, {'name': names[features], 'lstm_width': width, 'bank_size': bank}


def widths(theta: Theta) -> dict[str, int]:
  """The arguments of VeLO and Celo that determine theta's shapes.

  Example:
    >>> import l2o
    >>> widths(l2o.rule('celo', lstm_width=8, bank_size=4).init(jax.random.key(0), {}))
    {'lstm_width': 8, 'bank_size': 4}
  """
  _, width, bank = _sizes(theta, 'theta is not one of VeLO or Celo')
  return {'lstm_width': width, 'bank_size': bank}


def _sizes(theta: Theta, wrong: str) -> tuple[int, int, int]:
  """Features, LSTM width and size of the bank, from which all shapes follow."""
  found = {'/'.join(map(str, keys)): np.shape(leaf) for keys, leaf in leaves(theta)}
  for name, axis in TELLING:
    if len(found.get(name, ())) <= axis:
      raise InputError(f'{wrong}: {name} is missing or has too few axes')
  features, width, bank = (found[name][axis] for name, axis in TELLING)
  return features, width, bank

"""Released weights of VeLO and Celo, in the files they were released in: flax's msgpack."""

import os
import pathlib
from typing import Any

import flax.serialization
import jax
import numpy as np

from l2o.errors import InputError
from l2o.features import layer_paths
from l2o.types import Theta
from l2o.velo_network import NUM_FEATURES, theta_shapes


def load_theta(path: str | os.PathLike) -> Theta:
  """Reads the released weights of VeLO or Celo, or others in their format (flax msgpack).

  Args:
    path: the file.

  Returns:
    theta, for `velo` or `celo` of its widths; the key `rnn/linear` becomes two nested ones.

  Raises:
    InputError: no such file, or weights that are missing, extra or of another shape than the rest
      of them ask for; the message names them.

  Example:
    >>> theta = load_theta('celo.msgpack')  # doctest: +SKIP
    >>> tx = celo().bind(theta, num_steps=1000)  # doctest: +SKIP
  """
  return load_released(path)[0]


def load_released(path: str | os.PathLike) -> tuple[Theta, dict[str, Any]]:
  """As `load_theta`, and the name and arguments of the rule whose shapes these are.

  How strongly the mixture weighs, `interpolation`, shapes do not tell: it is the rule's default.
  """
  try:
    tree = flax.serialization.msgpack_restore(pathlib.Path(path).read_bytes())
  except (OSError, ValueError) as error:
    raise InputError(
      f'{path} holds no meta-trained optimizer: it is neither a file of l2o.save nor '
      f"weights in flax's msgpack format ({error})"
    ) from error
  found = dict(zip(layer_paths(tree), jax.tree.leaves(tree), strict=True))
  try:
    features = found['rnn_params/linear/w'].shape[0]
    width = found['lstm_init_state/hidden'].shape[1]
    bank = found['ff_mod_stack/~/b0'].shape[0]
  except (AttributeError, IndexError, KeyError) as error:
    raise InputError(f'{path} holds no weights of VeLO or Celo: {error} is not there') from error
  shapes = theta_shapes(features, width, bank)
  flat, treedef = jax.tree_util.tree_flatten_with_path(shapes, is_leaf=lambda x: type(x) is tuple)
  wanted = {jax.tree_util.keystr(keys, simple=True, separator='/'): shape for keys, shape in flat}
  names = {number: name for name, number in NUM_FEATURES.items()}
  wrong = (
    [] if features in names else [f'rnn_params/linear/w has {features} features, not 30 or 18']
  )
  wrong += [f'{name} is missing' for name in wanted if name not in found]
  wrong += [f'{name} is unknown' for name in found if name not in wanted]
  wrong += [
    f'{name} is {np.shape(found[name])}, not {shape}'
    for name, shape in wanted.items()
    if name in found and np.shape(found[name]) != shape
  ]
  if wrong:
    raise InputError(f'{path} holds no weights of VeLO or Celo: {"; ".join(wrong)}')
  theta = jax.tree.unflatten(treedef, [np.asarray(found[name], np.float32) for name in wanted])
  return theta, {'name': names[features], 'lstm_width': width, 'bank_size': bank}

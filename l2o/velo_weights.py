"""Released weights of VeLO and Celo."""

import pathlib

import jax
import numpy as np

from l2o.artifact import read_msgpack
from l2o.errors import InputError
from l2o.features import layer_paths
from l2o.types import Theta
from l2o.velo_network import theta_shapes


def load_theta(path: str | pathlib.Path) -> Theta:
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
  tree = read_msgpack(path)
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
  wrong = [f'{name} is missing' for name in wanted if name not in found]
  wrong += [f'{name} is unknown' for name in found if name not in wanted]
  wrong += [
    f'{name} is {np.shape(found[name])}, not {shape}'
    for name, shape in wanted.items()
    if name in found and np.shape(found[name]) != shape
  ]
  if wrong:
    raise InputError(f'{path} holds no weights of VeLO or Celo: {"; ".join(wrong)}')
  return jax.tree.unflatten(treedef, [np.asarray(found[name], np.float32) for name in wanted])

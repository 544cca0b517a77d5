"""Meta-parameters in a file: what meta-training learned, taken away. The only file l2o touches."""

import pathlib
import zipfile
from typing import Any

import flax.serialization
import numpy as np

from l2o.errors import InputError
from l2o.types import Theta

SEPARATOR = '::'  # between the keys of nested dicts; layers' paths have slashes of their own


def save_theta(path: str | pathlib.Path, theta: Theta) -> None:
  """Writes meta-parameters as a NumPy archive, whole or not at all.

  Args:
    path: the file, by custom `theta.npz`.
    theta: nested dicts of arrays.

  Raises:
    ValueError: a key with the separator '::' in it, or a branch that is not a dict.

  Example:
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + '/theta.npz'
    >>> save_theta(path, {'mlp': {'bias': np.array([1.0, 2.0])}})
    >>> load_theta(path)
    {'mlp': {'bias': array([1., 2.])}}
  """
  target = pathlib.Path(path)
  partial = target.with_name(target.name + '.partial')
  arrays = _flatten(theta)
  with partial.open('wb') as file:
    np.savez(file, allow_pickle=False, **arrays)
  partial.replace(target)


def load_theta(path: str | pathlib.Path) -> Theta:
  """Reads what `save_theta` wrote; never unpickles.

  Raises:
    InputError: a file that is missing or no archive of arrays.
  """
  theta: dict = {}
  try:
    with np.load(path, allow_pickle=False) as arrays:
      for name in arrays.files:
        *branch, leaf = name.split(SEPARATOR)
        node = theta
        for key in branch:
          node = node.setdefault(key, {})
        node[leaf] = arrays[name]
  except (OSError, ValueError, zipfile.BadZipFile) as error:
    raise InputError(
      f'{path} holds no theta ({error}); a run writes meta_train/theta.npz'
    ) from error
  return theta


def read_msgpack(path: str | pathlib.Path) -> Any:
  """Reads a tree of arrays that flax wrote, the format of released weights; never unpickles.

  Raises:
    InputError: a file that is missing or not in this format.
  """
  try:
    return flax.serialization.msgpack_restore(pathlib.Path(path).read_bytes())
  except (OSError, ValueError) as error:
    raise InputError(f"{path} holds no weights in flax's msgpack format ({error})") from error


def _flatten(tree: Theta, prefix: str = '') -> dict[str, np.ndarray]:
  if not isinstance(tree, dict):
    if isinstance(tree, (list, tuple)):
      raise ValueError(f'theta must be nested dicts, but {prefix!r} is a {type(tree).__name__}')
    return {prefix: np.asarray(tree)}
  flat: dict[str, np.ndarray] = {}
  for key, branch in tree.items():
    if SEPARATOR in key:
      raise ValueError(f'theta cannot be saved: the key {key!r} contains {SEPARATOR!r}')
    flat |= _flatten(branch, f'{prefix}{SEPARATOR}{key}' if prefix else key)
  return flat

"""Nested dicts of arrays in a file that describes itself and detects damage.

The format is safetensors, which holds arrays and strings and nothing executable. Its metadata has a
description in JSON and a SHA-256 of description and arrays.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from l2o.errors import InputError, first_line
from l2o.types import PyTree

SEPARATOR = '::'  # between the keys of nested dicts; layers' paths have slashes of their own
ABOUT, DIGEST = 'l2o', 'sha256'  # the keys of the file's metadata
MAX_DEPTH = 64  # of a description, since its readers may recurse
LISTED = 5  # differences that an error lists
DTYPES = frozenset((
  'bool', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64',
  'float16', 'bfloat16', 'float32', 'float64', 'complex64',
))  # fmt: skip


def pack(tree: PyTree, about: Mapping[str, Any]) -> bytes:
  """The content of a file, as `read` expects it.

  Args:
    tree: nested dicts of arrays.
    about: the description, which must be representable in JSON.

  Raises:
    InputError: as in `flatten`, or a description that is not representable.

  Example:
    >>> len(pack({'a': {'b': np.ones(2)}}, {'format': 1})) > 16
    True
  """
  arrays = flatten(tree)
  try:
    text = json.dumps(about, allow_nan=False, sort_keys=True)
  except (TypeError, ValueError, RecursionError) as error:
    raise InputError(f'the description cannot be written as JSON: {first_line(error)}') from error
  if _is_deeper(about, MAX_DEPTH):
    raise InputError(f'the description is nested deeper than {MAX_DEPTH} levels')
  return safetensors.numpy.save(arrays, metadata={ABOUT: text, DIGEST: digest(text, arrays)})


def read(path: pathlib.Path, what: str, remedy: str) -> tuple[PyTree, dict[str, Any]]:
  """Reads the tree and the description that were packed.

  Args:
    path: the file.
    what: what it should hold, for the error message.
    remedy: what to do if it is damaged, for the error message.

  Raises:
    InputError: no such file, another format, or content that does not match its digest.
  """
  metadata, arrays = tensors(path, what, remedy)
  if missing := [key for key in (ABOUT, DIGEST) if key not in metadata]:
    lacking = ' and '.join(missing)
    reason = f'its metadata lacks {lacking}'
    raise InputError(f'{path} is damaged or holds no {what} ({reason}); {remedy}')
  if metadata[DIGEST] != digest(metadata[ABOUT], arrays):
    raise InputError(f'{path} is damaged: its content does not match its SHA-256; {remedy}')
  about = _description(metadata[ABOUT], path)
  try:
    return unflatten(arrays), about
  except InputError as error:
    raise InputError(f'{path}: {error}; {remedy}') from error


def tensors(
  path: pathlib.Path, what: str, remedy: str
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
  """The metadata and the arrays, by name, of any safetensors file; arguments as in `read`.

  Raises:
    InputError: no such file, or another format.
  """
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      metadata = file.metadata() or {}
      arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
  except OSError as error:
    reason = 'it is a folder' if os.path.isdir(path) else first_line(error)
    raise InputError(f'{path} holds no {what} ({reason})') from error
  except (safetensors.SafetensorError, AttributeError, TypeError, ValueError) as error:
    reason = first_line(error)
    raise InputError(f'{path} is damaged or holds no {what} ({reason}); {remedy}') from error
  return metadata, arrays


def _description(text: str, path: pathlib.Path) -> dict[str, Any]:
  try:
    about = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise InputError(f'{path} has a description that is not JSON ({first_line(error)})') from error
  if not isinstance(about, dict):
    raise InputError(f'{path} has a description that is not a JSON object')
  if _is_deeper(about, MAX_DEPTH):
    raise InputError(f'{path} has a description nested deeper than {MAX_DEPTH} levels')
  return about


def _is_deeper(value: Any, levels: int) -> bool:
  if not isinstance(value, (Mapping, list, tuple)):
    return False
  branches = value.values() if isinstance(value, Mapping) else value
  return levels == 0 or any(_is_deeper(branch, levels - 1) for branch in branches)


def digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
  """SHA-256 of the description and of every array with its name, type and shape."""
  found = hashlib.sha256(text.encode())
  for name in sorted(arrays):
    array = arrays[name]
    found.update(f'\n{name} {array.dtype} {array.shape}\n'.encode())
    found.update(array.tobytes())
  return found.hexdigest()


def leaves(tree: PyTree) -> Iterator[tuple[tuple[str, ...], Any]]:
  """The leaves of nested dicts, each with its keys; iterative, since trees from files may be deep.

  Example:
    >>> list(leaves({'a': {'b': 1}, 'c': 2}))
    [(('a', 'b'), 1), (('c',), 2)]
  """
  waiting: list[tuple[tuple[str, ...], Any]] = [((), tree)]
  while waiting:
    keys, node = waiting.pop()
    if isinstance(node, Mapping):
      waiting += [((*keys, key), branch) for key, branch in reversed(list(node.items()))]
    else:
      yield keys, node


def flatten(tree: PyTree) -> dict[str, np.ndarray]:
  """Nested dicts of arrays as one dict of contiguous arrays in native byte order.

  Raises:
    InputError: a branch that is not a dict, a key that clashes with the separator '::', or a leaf
      that is not an array or has a dtype that the file's format lacks.

  Example:
    >>> list(flatten({'a': {'b': np.ones(2)}, 'c': np.zeros(1)}))
    ['a::b', 'c']
  """
  return {_joined(keys): _plain(leaf, keys) for keys, leaf in leaves(tree)}


def _joined(keys: tuple[str, ...]) -> str:
  for key in keys:
    if not isinstance(key, str):
      raise InputError(
        f'these arrays cannot be saved: their key {key!r} is not a string; rename it'
      )
    if SEPARATOR in key or key[:1] == ':' or key[-1:] == ':':
      raise InputError(
        f'these arrays cannot be saved: their key {key!r} contains {SEPARATOR!r}, or begins or '
        f'ends with a colon; rename it'
      )
  return SEPARATOR.join(keys)


def _plain(leaf: Any, keys: tuple[str, ...]) -> np.ndarray:
  name = SEPARATOR.join(keys)
  if not keys or isinstance(leaf, (list, tuple)):
    where = repr(name) if keys else 'the whole tree'
    raise InputError(
      f'only nested dicts of arrays can be saved, but {where} is of type {type(leaf).__name__}'
    )
  try:
    array = np.asarray(leaf, order='C')  # which keeps a scalar's shape (), and copies a view
  except (TypeError, ValueError) as error:
    raise InputError(f'{name} cannot be saved: {first_line(error)}') from error
  if array.dtype.name not in DTYPES:
    raise InputError(f'{name} cannot be saved: its dtype is {array.dtype}')
  return array.astype(array.dtype.newbyteorder('='), copy=False)


def unflatten(arrays: Mapping[str, np.ndarray]) -> PyTree:
  """The inverse of `flatten`.

  Raises:
    InputError: a name nested below another array, such as 'a::b' beside 'a'.

  Example:
    >>> unflatten({'a::b': 1, 'c': 2})
    {'a': {'b': 1}, 'c': 2}
  """
  tree: dict[str, Any] = {}
  for name in sorted(arrays):  # an array comes before what would lie below it
    *branch, leaf = name.split(SEPARATOR)
    node = tree
    for key in branch:
      node = node.setdefault(key, {})
      if not isinstance(node, dict):
        raise InputError(f'it has an array {name!r} below the array {key!r}')
    node[leaf] = arrays[name]
  return tree


def mismatches(
  found: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]], more: bool = False
) -> list[str]:
  """What is wrong with some arrays, in words: names, shapes, and values that are not finite.

  Args:
    found: name -> array.
    wanted: name -> shape.
    more: whether arrays other than those wanted are allowed.

  Example:
    >>> mismatches({'a': np.ones(2), 'c': np.ones(1)}, {'a': (3,), 'b': ()})
    ['b is missing', 'c is unknown', 'a is (2,), not (3,)']
  """
  wrong = [f'{name} is missing' for name in wanted if name not in found]
  wrong += [f'{name} is unknown' for name in found if name not in wanted and not more]
  wrong += [
    f'{name} is {array.shape}, not {wanted[name]}'
    for name, array in found.items()
    if name in wanted and array.shape != wanted[name]
  ]
  wrong += [
    f'{name} has values that are not finite numbers'
    for name, array in found.items()
    if not is_real(array) or not np.all(np.isfinite(array))
  ]
  return wrong[:LISTED] + [f'{len(wrong) - LISTED} more'] * (len(wrong) > LISTED)


def is_real(array: np.ndarray) -> bool:
  """Whether it holds real numbers, bfloat16 included."""
  return any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer))

"""A meta-trained optimizer in a file, and back into anybody's loop.

The file that l2o writes is in the safetensors format, which holds arrays and strings and nothing
that could be run: theta's leaves, and as JSON the rule's name and arguments, the layers it was
meta-trained for, a card that tells where it comes from, and a SHA-256 of all of it.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import safetensors
import safetensors.numpy

from l2o.build import choose
from l2o.errors import InputError
from l2o.features import layer_paths
from l2o.rules import rule
from l2o.types import LearnedRule, Params, PyTree, Theta
from l2o.velo_weights import load_released

SEPARATOR = '::'  # between the keys of nested dicts; layers' paths have slashes of their own
SUFFIX = '.safetensors'
ZOO = pathlib.Path(__file__).parent / 'zoo'
FORMAT = 1


class Artifact(NamedTuple):
  """What a file holds."""

  rule: LearnedRule
  theta: Theta
  spec: Mapping[str, Any]  # the rule's name and arguments
  # path -> shape, of the parameters it was meta-trained for; empty where the file does not tell
  layers: Mapping[str, tuple[int, ...]]
  card: Mapping[str, Any]  # where it comes from: config, data, revision, results


def save(
  path: str | os.PathLike,
  theta: Theta,
  params: Params,
  spec: Mapping[str, Any],
  card: Mapping[str, Any] | None = None,
) -> None:
  """Writes a meta-trained optimizer, whole or not at all.

  Args:
    path: the file, by custom ending in `.safetensors`.
    theta: nested dicts of arrays.
    params: the parameters it was meta-trained for, or their shapes.
    spec: the rule's name and arguments, as `l2o.rule(**spec)` takes them.
    card: anything JSON can say of where it comes from.

  Raises:
    ValueError: a key with the separator '::' in it, a branch that is not a dict, or a card that
      JSON cannot hold.

  Example:
    >>> import jax, jax.numpy as jnp, tempfile
    >>> params, spec = {'w': jnp.ones(3)}, {'name': 'l3rs', 'directions': ['sgd']}
    >>> theta = rule(**spec).init(jax.random.key(0), params)
    >>> path = tempfile.mkdtemp() + '/mine.safetensors'
    >>> save(path, theta, params, spec)
    >>> tx = load(path, params, num_steps=100)
    >>> updates, state = tx.update(params, tx.init(params), params, value=1.0)
  """
  arrays = flatten(theta)
  paths, shapes = layer_paths(params), _shapes(params)
  about = {
    'format': FORMAT,
    'spec': dict(spec),
    'layers': {path: list(shape) for path, shape in zip(paths, shapes, strict=True)},
    'card': dict(card or {}),
  }
  try:
    text = json.dumps(about, allow_nan=False, sort_keys=True)
  except (TypeError, ValueError) as error:
    raise ValueError(f'the card or the spec cannot be written as JSON: {error}') from error
  target = pathlib.Path(path)
  partial = target.with_name(target.name + '.partial')
  metadata = {'l2o': text, 'sha256': _digest(text, arrays)}
  partial.write_bytes(safetensors.numpy.save(arrays, metadata=metadata))
  partial.replace(target)


def read(path_or_name: str | os.PathLike) -> Artifact:
  """Reads what `save` wrote, one of the optimizers that come with l2o, or released weights.

  Args:
    path_or_name: a file, or a name of `zoo()`. A file in flax's msgpack format holds VeLO or Celo,
      see `l2o.velo.load_theta`; which, and its widths, is told by its shapes.

  Raises:
    InputError: a file that is missing, damaged, or holds something else; an unknown name.
  """
  path = _find(path_or_name)
  if _is_released(path):
    theta, spec = load_released(path)
    return Artifact(rule(**spec), theta, spec, {}, {})
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      metadata = file.metadata() or {}
      arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    text = metadata['l2o']
    about = json.loads(text)
  except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
    raise InputError(f'{path} holds no optimizer written by l2o.save ({error})') from error
  if metadata.get('sha256') != _digest(text, arrays):
    raise InputError(f'{path} is damaged: its content is not what its SHA-256 says; fetch it anew')
  if about['format'] != FORMAT:
    raise InputError(f'{path} has format {about["format"]}, this version of l2o reads {FORMAT}')
  layers = {layer: tuple(shape) for layer, shape in about['layers'].items()}
  return Artifact(rule(**about['spec']), unflatten(arrays), about['spec'], layers, about['card'])


def load(
  path_or_name: str | os.PathLike, params: Params, num_steps: Any, on_mismatch: str = 'error'
) -> optax.GradientTransformationExtraArgs:
  """A meta-trained optimizer as an optax transformation for one training run.

  Args:
    path_or_name: a file, or a name of `zoo()`.
    params: the parameters to train, or their shapes.
    num_steps: K, the length of the run.
    on_mismatch: where a rule knows layers by their path and these are others: 'error', or
      'mean_embedding' to give an unknown layer the mean of the known ones.

  Returns:
    A transformation whose update takes the loss: `update(grads, state, params, value=loss)`.

  Raises:
    InputError: as `read`, or layers that do not match; the message names both sides.

  Example:
    >>> import jax.numpy as jnp
    >>> params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> tx = load('l3rs-quickstart', params, num_steps=50, on_mismatch='mean_embedding')
    >>> state = tx.init(params)
    >>> updates, state = tx.update(params, state, params, value=jnp.array(0.7))
  """
  held = read(path_or_name)
  return held.rule.bind(held.rule.adapt(held.theta, params, on_mismatch=on_mismatch), num_steps)


def zoo() -> list[str]:
  """The names of the optimizers that come with l2o.

  Example:
    >>> 'l3rs-quickstart' in zoo()
    True
  """
  return sorted(path.name.removesuffix(SUFFIX) for path in ZOO.glob(f'*{SUFFIX}'))


def _find(path_or_name: str | os.PathLike) -> pathlib.Path:
  path = pathlib.Path(path_or_name)
  if path.suffix == SUFFIX or len(path.parts) > 1 or path.exists():
    return path
  return ZOO / (choose(str(path_or_name), zoo(), 'optimizer in the zoo') + SUFFIX)


def _is_released(path: pathlib.Path) -> bool:
  """Whether the file is not in the safetensors format, whose ninth byte opens a JSON object."""
  if path.suffix == SUFFIX or not path.is_file():
    return False
  with path.open('rb') as file:
    return file.read(9)[8:] != b'{'


def _shapes(params: Params) -> list[tuple[int, ...]]:

  return [tuple(np.shape(leaf)) for leaf in jax.tree.leaves(params)]


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
  """SHA-256 of the description and of every array with its name, type and shape."""
  digest = hashlib.sha256(text.encode())
  for name in sorted(arrays):
    array = arrays[name]
    digest.update(f'\n{name} {array.dtype} {array.shape}\n'.encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()


def flatten(tree: PyTree, prefix: str = '') -> dict[str, np.ndarray]:
  """Nested dicts of arrays as one dict, for a file.

  Raises:
    ValueError: a branch that is not a dict, or a key with the separator '::' in it.

  Example:
    >>> list(flatten({'a': {'b': np.ones(2)}, 'c': np.zeros(1)}))
    ['a::b', 'c']
  """
  if not isinstance(tree, dict):
    if isinstance(tree, (list, tuple)):
      raise ValueError(f'it must be nested dicts, but {prefix!r} is a {type(tree).__name__}')
    return {prefix: np.asarray(tree)}
  flat: dict[str, np.ndarray] = {}
  for key, branch in tree.items():
    if SEPARATOR in key:
      raise ValueError(f'it cannot be saved: the key {key!r} contains {SEPARATOR!r}')
    flat |= flatten(branch, f'{prefix}{SEPARATOR}{key}' if prefix else key)
  return flat


def unflatten(arrays: Mapping[str, np.ndarray]) -> PyTree:
  """What `flatten` was given.

  Example:
    >>> unflatten({'a::b': 1, 'c': 2})
    {'a': {'b': 1}, 'c': 2}
  """
  theta: dict = {}
  for name, array in arrays.items():
    *branch, leaf = name.split(SEPARATOR)
    node = theta
    for key in branch:
      node = node.setdefault(key, {})
    node[leaf] = array
  return theta

"""Saves a learned optimizer to a file and loads it into any training loop.

The file that l2o writes is an `l2o.artifacts.arrays_file` of theta's leaves. Its description has
the rule's name and arguments, the layers it was meta-trained for, and a card with its provenance.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from l2o import atomic
from l2o.arguments import Whole, checked
from l2o.artifacts import arrays_file
from l2o.errors import InputError, first_line
from l2o.registry import build, call, choose
from l2o.rules import RULES, released
from l2o.trees import layer_paths
from l2o.types import Horizon, LearnedRule, Params, Theta

SUFFIX = '.safetensors'
ZOO = pathlib.Path(__file__).parent / 'zoo'
FORMAT = 1
MAX_FILES = 8  # length of a chain in which each names the next as its rule
KIND, REMEDY = 'optimizer written by l2o.save', 'download it again'


class _About(NamedTuple):
  """The description of a file."""

  format: int
  spec: Mapping[str, Any]
  layers: Mapping[str, Sequence[Whole]]
  card: Mapping[str, Any]


class Artifact(NamedTuple):
  """The content of a file."""

  rule: LearnedRule
  theta: Theta
  spec: Mapping[str, Any]  # the rule's name and arguments
  # path -> shape, of the parameters it was meta-trained for; empty if the file does not say
  layers: Mapping[str, tuple[int, ...]]
  card: Mapping[str, Any]  # where it comes from: config, data, revision, results


@checked
def save(
  path: str | os.PathLike[str],
  theta: Theta,
  params: Params,
  spec: Mapping[str, Any],
  card: Mapping[str, Any] | None = None,
) -> None:
  """Writes a learned optimizer, atomically.

  Args:
    path: the file, by convention ending in `.safetensors`.
    theta: nested dicts of arrays.
    params: the parameters it was meta-trained for, or their shapes.
    spec: the rule's name and arguments, as `l2o.rule(**spec)` takes them.
    card: its provenance, anything representable in JSON.

  Raises:
    InputError: the file cannot be written; theta cannot be stored, does not match the rule and
      these parameters, or is not finite; the card is not representable in JSON.

  Example:
    >>> import jax, jax.numpy as jnp, tempfile
    >>> params, spec = {'w': jnp.ones(3)}, {'name': 'l3rs', 'directions': ['sgd']}
    >>> theta = build(RULES, spec).init(jax.random.key(0), params)
    >>> path = tempfile.mkdtemp() + '/mine.safetensors'
    >>> save(path, theta, params, spec)
    >>> tx = load(path, params, num_steps=100)
    >>> updates, state = tx.update(params, tx.init(params), params, value=1.0)
  """
  target = pathlib.Path(path)
  if not target.name:
    raise InputError(f'{str(path)!r} is not a file name')
  layers = {
    path: list(np.shape(leaf))
    for path, leaf in zip(layer_paths(params), jax.tree.leaves(params), strict=True)
  }
  alone = _self_contained(spec, theta)
  about = {'format': FORMAT, 'spec': alone, 'layers': layers, 'card': dict(card or {})}
  content = arrays_file.pack(theta, about)
  _check_theta(_build(alone, target), theta, layers, target)
  try:
    atomic.replace(target, content)
  except OSError as error:
    raise InputError(f'{target} cannot be written ({first_line(error)})') from error


def read(path_or_name: str | os.PathLike[str], **arguments: Any) -> Artifact:
  """Reads what `save` wrote, one of the optimizers that come with l2o, or released weights.

  Args:
    path_or_name: a file, or a name of `zoo()`. A file in flax's msgpack format has released
      weights, see `l2o.rules.released`; names and shapes determine the rule and its widths.
    **arguments: arguments of the rule, in place of those in the file or the defaults.

  Raises:
    InputError: a file that is missing, damaged, or holds something else; an unknown name; an
      argument that the rule does not take, or that changes theta's shapes.
  """
  path = _find(path_or_name)
  theta, about = _contents(path)
  spec = _self_contained({**about.spec, **arguments}, theta)
  built = _build(spec, path)
  layers = {layer: tuple(shape) for layer, shape in about.layers.items()}
  _check_theta(built, theta, layers, path)
  return Artifact(built, theta, spec, layers, about.card)


def load(
  path_or_name: str | os.PathLike[str],
  params: Params,
  num_steps: Horizon,
  on_mismatch: str = 'error',
  **arguments: Any,
) -> optax.GradientTransformationExtraArgs:
  """A learned optimizer as an optax transformation for one training run.

  Args:
    path_or_name: a file, or a name of `zoo()`.
    params: the parameters to train, or their shapes.
    num_steps: K, the length of the run.
    on_mismatch: what to do if the rule knows layers by path and these differ: 'error', or
      'mean_embedding' to give an unknown layer the mean of the known embeddings.
    **arguments: arguments of the rule, as in `read`: `schedule='cosine'` for Celo2's weights.

  Returns:
    A transformation whose update takes the loss: `update(grads, state, params, value=loss)`.

  Raises:
    InputError: as in `read`, or layers that do not match; the message names both sides.

  Example:
    >>> import jax.numpy as jnp
    >>> params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
    >>> tx = load('l3rs-quickstart', params, num_steps=50, on_mismatch='mean_embedding')
    >>> state = tx.init(params)
    >>> updates, state = tx.update(params, state, params, value=jnp.array(0.7))
  """
  held = read(path_or_name, **arguments)
  return held.rule.bind(held.rule.retarget(held.theta, params, on_mismatch=on_mismatch), num_steps)


def zoo() -> list[str]:
  """The names of the optimizers that come with l2o.

  Example:
    >>> 'l3rs-quickstart' in zoo()
    True
  """
  return sorted(path.name.removesuffix(SUFFIX) for path in ZOO.glob(f'*{SUFFIX}'))


def _find(path_or_name: str | os.PathLike[str]) -> pathlib.Path:
  path = pathlib.Path(path_or_name)
  if path.suffix == SUFFIX or len(path.parts) > 1 or (path_or_name and os.path.lexists(path)):
    return path
  return ZOO / (choose(str(path_or_name), zoo(), 'optimizer in the zoo') + SUFFIX)


def _is_released(path: pathlib.Path) -> bool:
  """Whether the file is not in the safetensors format, whose ninth byte opens a JSON object."""
  if path.suffix == SUFFIX:
    return False
  try:
    with path.open('rb') as file:
      return file.read(9)[8:] != b'{'
  except OSError:
    return False  # reading it will say why it cannot be read


def _contents(path: pathlib.Path) -> tuple[Theta, _About]:
  """Theta and the complete description from a file of either format."""
  if _is_released(path):
    theta, spec = released.load_released(path)
    return theta, _About(FORMAT, spec, {}, {})
  theta, said = arrays_file.read(path, KIND, REMEDY)
  if said.get('format', FORMAT) != FORMAT:
    raise InputError(
      f'{path} has format {said["format"]}, but this version of l2o reads {FORMAT}; read it with '
      f'the version that wrote it'
    )
  known = {key: said[key] for key in _About._fields if key in said}
  return theta, call(_About, known, f'the description in {path}')


def _self_contained(spec: Mapping[str, Any], theta: Theta, files: int = 0) -> dict[str, Any]:
  """A rule's spec without the files it names, whose content is in theta already.

  Args:
    spec: name and arguments.
    theta: the rule's theta.
    files: length of the chain of files so far, each naming the next as its rule.
  """
  spec = dict(spec)
  if spec.get('name') == 'artifact':
    path = call(_named, {k: v for k, v in spec.items() if k != 'name'}, 'rule artifact')
    if files == MAX_FILES:
      raise InputError(
        f'{path} names itself as its rule, or follows {MAX_FILES} files that each name the next; '
        f'save the optimizer again with the rule itself'
      )
    return _self_contained(_contents(path)[1].spec, theta, files + 1)
  if (name := spec.get('name')) in released.RULES and spec.pop('weights', ''):
    spec |= released.widths(name, theta)
  for key in ('rule', 'hand_designed', 'learned'):
    if isinstance(spec.get(key), Mapping):
      branch = theta if key == 'rule' or not isinstance(theta, Mapping) else theta.get(key, {})
      spec[key] = _self_contained(spec[key], branch, files)
  return spec


def _named(path: str, on_mismatch: str = 'error') -> pathlib.Path:
  """The file of a rule `artifact`; its `on_mismatch` matters only at `init`."""
  del on_mismatch
  return _find(path)


def _build(spec: Mapping[str, Any], path: pathlib.Path) -> LearnedRule:
  try:
    return build(RULES, spec, 'rule')
  except InputError as error:
    raise InputError(f'{path}: {error}') from error
  except Exception as error:  # a file may say anything
    raise InputError(f'{path}: its rule cannot be built ({first_line(error)})') from error


def _check_theta(
  built: LearnedRule,
  theta: Theta,
  layers: Mapping[str, Sequence[int]],
  path: pathlib.Path,
) -> None:
  """Raises InputError if theta does not match the rule and these layers."""
  shapes = {name: jax.ShapeDtypeStruct(tuple(shape), np.float32) for name, shape in layers.items()}
  try:
    like = jax.eval_shape(lambda params: built.init(jax.random.key(0), params), shapes)
  except Exception as error:  # a file may say anything
    if layers:
      raise InputError(f'{path}: its rule cannot make a theta ({first_line(error)})') from error
    like = {}  # the rule needs layers, but a file need not list them
  wanted = {arrays_file.SEPARATOR.join(keys): x.shape for keys, x in arrays_file.leaves(like)}
  wrong = arrays_file.mismatches(arrays_file.flatten(theta), wanted, more=not layers)
  if wrong:
    raise InputError(f'{path} holds a theta that does not match its rule: {"; ".join(wrong)}')

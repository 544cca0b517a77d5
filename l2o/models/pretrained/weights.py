"""Reads weights trained elsewhere, and checks them against the model in both directions."""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from l2o.artifacts import arrays_file
from l2o.errors import InputError
from l2o.models.pretrained import ARCHITECTURES, PICKLES
from l2o.models.pretrained.spelling import Spelling, is_counter, to_ours, to_theirs, unmet
from l2o.registry import resolve
from l2o.tasks.preprocessing import Preprocessing
from l2o.types import Params, PyTree

HEAD = 'head'  # what every model calls its last layer
CONVERT = (
  'from safetensors.torch import save_file; save_file({name: tensor.contiguous() for name, tensor '
  "in torch.load(FILE, map_location='cpu', weights_only=True).items()}, 'weights.safetensors')"
)
LISTED = 3  # names that an error lists from each side
Keys = tuple[str, ...]


class Weights(NamedTuple):
  """A pretrained network."""

  params: Params
  model_state: PyTree
  preprocessing: Preprocessing  # what the weights expect of their images
  publisher: str  # whose names the file uses
  fresh_head: bool  # whether the head was drawn, since the file has none, or one for other classes


class _Wanted(NamedTuple):
  """A leaf of the model's variables, as a tensor of the file."""

  name: str
  keys: Keys
  shape: tuple[int, ...]


def load_weights(
  path: str | os.PathLike[str], model: nn.Module, image_shape: Sequence[int], key: jax.Array
) -> Weights:
  """Fills a model with the weights in a safetensors file, under timm's or torchvision's names.

  Args:
    path: the file.
    model: a model of a class in `ARCHITECTURES`.
    image_shape: (H, W, C) of what the model will see, to which position embeddings are fitted.
    key: [] draws a new head if the file has none, or one with another number of classes. A model
      without a head (0 classes) needs none, and the file's is ignored.

  Raises:
    InputError: no such file, a pickle or a damaged file; a model without a table of names; tensors
      that are missing, unknown, misshapen or not finite; or a model with the right shapes
      that computes something other than what the weights were trained for.

  Example:
    >>> from l2o.models.vit import ViT
    >>> weights = load_weights('vit_base_patch16_224.safetensors', ViT(10, size='B'),
    ...                        (224, 224, 3), jax.random.key(0))  # doctest: +SKIP
  """
  path = pathlib.Path(path)
  found = _read(path)
  shapes = _shapes(model, image_shape)
  spelling = _spelling(path, found, model, image_shape, shapes)
  wanted = _wanted(spelling, shapes)
  for part in wanted:
    if fit := spelling.resized.get('/'.join(part.keys[1:])):
      found |= {part.name: fit(found[part.name])} if part.name in found else {}
  head = [part for part in wanted if part.keys[1] == HEAD]
  fresh = _is_of_other_classes(head, found)
  if fresh or not head:
    wanted = [part for part in wanted if part not in head]
    theirs = {spelling.tensor(('params', HEAD, leaf)) for leaf in ('kernel', 'bias')}
    found = {name: x for name, x in found.items() if name not in theirs}
  if said := _differences(found, {part.name: part.shape for part in wanted}):
    raise InputError(
      f'{path} does not fit {type(model).__name__} under the names of {spelling.publisher}: {said}'
    )
  if other := unmet(model, spelling):
    name, value = next(iter(other.items()))
    raise InputError(
      f'{path} has weights of {spelling.publisher}, which need model.{name} = {value!r}, not '
      f'{getattr(model, name)!r}'
    )
  variables = _filled(wanted, found)
  if fresh:
    variables['params'][HEAD] = _drawn_head(model, image_shape, key)
  params = variables.pop('params')
  return Weights(params, variables, spelling.preprocessing, spelling.publisher, fresh)


def usual_preprocessing(model: nn.Module, image_shape: Sequence[int]) -> Preprocessing:
  """What the weights of a model's architecture expect of their images.

  Publishers differ in mean and standard deviation, but not in the size.

  Args:
    model: a model of a class in `ARCHITECTURES`.
    image_shape: (H, W, C) of the images.

  Raises:
    InputError: the model is of another class.

  Example:
    >>> from l2o.models.cifar_resnet import CifarResNet
    >>> usual_preprocessing(CifarResNet(num_classes=10), (64, 64, 3)).size
    32
  """
  return _spellings(model, image_shape)[0].preprocessing


def _spellings(model: nn.Module, image_shape: Sequence[int]) -> list[Spelling]:
  what = 'architecture with known names of weights'
  found: list[Spelling] = resolve(ARCHITECTURES, type(model).__name__, what)(
    model, tuple(image_shape)
  )
  return found


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The file's tensors in float32, without counters."""
  if path.suffix in PICKLES:
    raise InputError(
      f'{path} holds a pickle, which may execute anything when it is read: convert it to '
      f'safetensors where you trust it, with {CONVERT}'
    )
  _, arrays = arrays_file.tensors(path, 'weights in safetensors', 'get the file again')
  arrays = {name: x for name, x in arrays.items() if not is_counter(name)}
  if strange := [name for name, x in arrays.items() if not arrays_file.is_real(x)]:
    raise InputError(f'{path}: {strange[0]} is {arrays[strange[0]].dtype}, not real numbers')
  with np.errstate(over='ignore'):  # infinities are refused below
    return {name: x.astype(np.float32, copy=False) for name, x in arrays.items()}


def _shapes(model: nn.Module, image_shape: Sequence[int]) -> PyTree:
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  return jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)


def _wanted(spelling: Spelling, shapes: PyTree) -> list[_Wanted]:
  return [
    _Wanted(spelling.tensor(keys), keys, to_theirs(keys[-1], leaf.shape))
    for keys, leaf in arrays_file.leaves(shapes)
  ]


def _spelling(
  path: pathlib.Path,
  found: Mapping[str, np.ndarray],
  model: nn.Module,
  image_shape: Sequence[int],
  shapes: PyTree,
) -> Spelling:
  """The spelling that shares the most names with the file and, among those, that the model fits."""
  choices = _spellings(model, image_shape)

  def shared(spelling: Spelling) -> tuple[int, bool]:
    names = {part.name for part in _wanted(spelling, shapes)}
    return len(names & set(found)), not unmet(model, spelling)

  best = max(choices, key=shared)
  if not shared(best)[0]:
    known = ', '.join(dict.fromkeys(spelling.publisher for spelling in choices))
    raise InputError(
      f'{path} has no tensor that {type(model).__name__} has under the names of {known}: it has '
      f'{_listed(found)}'
    )
  return best


def _is_of_other_classes(head: Sequence[_Wanted], found: Mapping[str, np.ndarray]) -> bool:
  """Whether the file has no head, or one that differs only in the number of classes."""
  shapes = [found[part.name].shape for part in head if part.name in found]
  if len(shapes) < len(head):
    return not shapes
  ours = [part.shape for part in head]
  one_number = len({shape[:1] for shape in shapes}) == 1
  alike = [shape[1:] for shape in shapes] == [shape[1:] for shape in ours]
  return shapes != ours and one_number and alike


def _differences(found: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]) -> str:
  """What is missing, unknown, misshapen or not finite, in words; '' if nothing is."""
  missing = [name for name in wanted if name not in found]
  unknown = [name for name in found if name not in wanted]
  misshapen = [
    f'{name} is {found[name].shape}, not {shape}'
    for name, shape in wanted.items()
    if name in found and found[name].shape != shape
  ]
  infinite = [name for name in wanted if name in found and not np.all(np.isfinite(found[name]))]
  said = {
    'it lacks': missing,
    'the model has no place for': unknown,
    '': misshapen,
    'there are values that are not finite in': infinite,
  }
  return '; '.join(f'{what} {_listed(names)}'.strip() for what, names in said.items() if names)


def _listed(names: Iterable[str]) -> str:
  names = list(names)
  more = f' and {len(names) - LISTED} more' if len(names) > LISTED else ''
  return ', '.join(names[:LISTED]) + more or 'none'


def _filled(wanted: Iterable[_Wanted], found: dict[str, np.ndarray]) -> dict[str, Any]:
  """The model's variables; takes the tensors out of `found`, so that none is held twice."""
  variables: dict[str, Any] = {}
  for part in wanted:
    *branch, leaf = part.keys
    node = variables
    for name in branch:
      node = node.setdefault(name, {})
    node[leaf] = np.ascontiguousarray(to_ours(leaf, found.pop(part.name)))
  return variables


def _drawn_head(model: nn.Module, image_shape: Sequence[int], key: jax.Array) -> Params:
  shape = (1, *image_shape)
  draw = jax.jit(lambda key: model.init(key, jnp.zeros(shape), train=False)['params'][HEAD])
  return jax.tree.map(np.asarray, draw(key))  # the compiler drops everything but the head

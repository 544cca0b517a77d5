"""How a publisher names the tensors of an architecture, and torch's conventions for them."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from l2o.tasks.preprocessing import Preprocessing

NOTHING: Mapping[str, Any] = types.MappingProxyType({})
SUFFIXES = {
  'kernel': 'weight',
  'scale': 'weight',
  'bias': 'bias',
  'mean': 'running_mean',
  'var': 'running_var',
}
TO_OURS = {4: (2, 3, 1, 0), 2: (1, 0)}  # [O, I, H, W] -> [H, W, I, O]; [O, I] -> [I, O]
TO_THEIRS = {4: (3, 2, 0, 1), 2: (1, 0)}


class Spelling(NamedTuple):
  """The names of one publisher.

  Attributes:
    publisher: who uses them.
    names: our layer, such as 'block_0/norm', -> how its tensors' names begin: 'blocks.0.norm.'; or
      one parameter -> its tensor's whole name. Layers that the model lacks are ignored.
    preprocessing: what the weights expect of their images.
    needs: attributes of the model that change what it computes but no shape.
    resized: parameter -> a function that fits the publisher's tensor to the images' size.
  """

  publisher: str
  names: Mapping[str, str]
  preprocessing: Preprocessing
  needs: Mapping[str, Any] = NOTHING
  resized: Mapping[str, Callable[[np.ndarray], np.ndarray]] = NOTHING

  def tensor(self, keys: Sequence[str]) -> str:
    """The name of the tensor that fills a parameter or a statistic.

    Args:
      keys: where it lies in the model's variables: ('params', layers …, 'kernel').

    Example:
      >>> names = {'block_0/norm': 'blocks.0.norm.', 'token': 'cls_token'}
      >>> spelling = Spelling('timm', names, Preprocessing((0.0,), (1.0,)))
      >>> spelling.tensor(('params', 'block_0', 'norm', 'scale'))
      'blocks.0.norm.weight'
      >>> spelling.tensor(('params', 'token'))
      'cls_token'
    """
    _, *layers, leaf = keys
    whole = '/'.join((*layers, leaf))
    return self.names.get(whole) or self.names['/'.join(layers)] + SUFFIXES[leaf]


def unmet(model: Any, spelling: Spelling) -> dict[str, Any]:
  """Where the model is not what the weights need: its attribute -> the value needed."""
  return {name: value for name, value in spelling.needs.items() if getattr(model, name) != value}


def is_counter(name: str) -> bool:
  """Whether a tensor is torch's count of batches, which has no counterpart here."""
  return name.endswith('num_batches_tracked')


def to_ours(leaf: str, tensor: np.ndarray) -> np.ndarray:
  """A torch tensor, transposed if it is a kernel: dense, convolutional or depthwise.

  Example:
    >>> to_ours('kernel', np.zeros((8, 1, 3, 5))).shape
    (3, 5, 1, 8)
  """
  return tensor.transpose(TO_OURS[tensor.ndim]) if leaf == 'kernel' else tensor


def to_theirs(leaf: str, shape: Sequence[int]) -> tuple[int, ...]:
  """The shape of the tensor that fills a leaf of this shape.

  Example:
    >>> to_theirs('kernel', (3, 5, 1, 8))
    (8, 1, 3, 5)
  """
  order = TO_THEIRS[len(shape)] if leaf == 'kernel' else range(len(shape))
  return tuple(shape[axis] for axis in order)

"""Transforms of single images on the host, by the name a config gives them.

A transform takes an image and NumPy's generator, from which all of its randomness comes, and can be
pickled, since worker processes apply it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from l2o import registry
from l2o.errors import InputError

TRANSFORMS = {
  'autoaugment': 'datasets.transforms.autoaugment:autoaugment',
  'centre_crop': 'datasets.transforms.centre_crop:centre_crop',
  'flip': 'datasets.transforms.flip:flip',
  'random_crop': 'datasets.transforms.random_crop:random_crop',
  'random_resized_crop': 'datasets.transforms.random_resized_crop:random_resized_crop',
  'resize': 'datasets.transforms.resize:resize',
}
RANDOM = {'autoaugment', 'flip', 'random_crop', 'random_resized_crop'}

# An image of mode 'RGB' or 'L' -> another one of the same mode.
Transform = Callable[[Image.Image, np.random.Generator], Image.Image]


def build(specs: Sequence[Mapping[str, Any]], where: str) -> Transform:
  """One transform that applies those of a list of blocks in order; an empty list changes nothing.

  Args:
    specs: blocks `{'name': …, **arguments}`.
    where: what the list is called, for the error message.

  Raises:
    InputError: not a list, or a block with an unknown name or an argument that its transform does
      not take.

  Example:
    >>> blocks = ({'name': 'random_crop', 'size': 3, 'padding': 1}, {'name': 'flip'})
    >>> augment = build(blocks, 'feed.train')
    >>> augment(Image.new('RGB', (4, 5)), np.random.default_rng(0)).size
    (3, 3)
    >>> build([{'name': 'filp'}], 'feed.train')  # doctest: +ELLIPSIS
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: feed.train[0]: there is no transform 'filp' (did you mean 'flip'?); ...
  """
  if not isinstance(specs, Sequence) or isinstance(specs, str):
    raise InputError(f"{where} must be a list of blocks like {{'name': 'flip'}}, not {specs!r}")
  return partial(_chain, transforms=tuple(_one(s, f'{where}[{n}]') for n, s in enumerate(specs)))


def check_fixed(specs: Sequence[Mapping[str, Any]], where: str) -> None:
  """Raises InputError if a transform draws at random, so that it cannot be used to evaluate."""
  for number, spec in enumerate(specs):
    if spec.get('name') in RANDOM:
      fixed = ', '.join(sorted(TRANSFORMS.keys() - RANDOM))
      raise InputError(
        f'{where}[{number}]: {spec["name"]} draws at random, and all optimizers are evaluated on '
        f'the same images; choose from {fixed}'
      )


def _one(spec: Mapping[str, Any], where: str) -> Transform:
  try:
    transform: Transform = registry.build(TRANSFORMS, spec, 'transform')
  except InputError as error:
    raise InputError(f'{where}: {error}') from error
  return transform


def _chain(
  image: Image.Image, rng: np.random.Generator, transforms: tuple[Transform, ...]
) -> Image.Image:
  for transform in transforms:
    image = transform(image, rng)
  return image

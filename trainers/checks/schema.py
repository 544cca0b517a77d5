"""Parses a block of a config, and the blocks nested in it, into frozen dataclasses."""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from l2o.errors import InputError
from l2o.registry import call

T = TypeVar('T')


def parse(kind: type[T], block: Any, where: str) -> T:
  """Builds a dataclass from a block of a config, including nested blocks.

  Args:
    kind: a dataclass whose annotations define what each key may be, see `l2o.arguments`; a field
      may be another such dataclass, or a mapping or sequence of such dataclasses.
    block: the keys.
    where: the dotted key of the block, for the error message.

  Raises:
    InputError: a key is unknown or missing, or a value is not allowed by its annotation.

  Example:
    >>> from l2o.arguments import Count
    >>> @dataclasses.dataclass(frozen=True)
    ... class Train:
    ...   num_steps: Annotated[Count, 'in all']
    >>> parse(Train, {'num_steps': 3}, 'config.train')
    Train(num_steps=3)
    >>> parse(Train, {'numsteps': 3}, 'config.train')
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: config.train has no 'numsteps' (did you mean 'num_steps'?); it takes \
num_steps
  """
  if not isinstance(block, Mapping):
    raise InputError(f'{where} must be a block of keys, not {block!r}')
  kinds = hints(kind)
  parsed = {
    key: _parsed(kinds[key], value, f'{where}.{key}') if key in kinds else value
    for key, value in block.items()
  }
  return call(kind, parsed, where)


def hints(kind: type) -> dict[str, Any]:
  """The annotations of a dataclass: field -> type, with bounds and meaning."""
  return typing.get_type_hints(kind, include_extras=True)


def inner(hint: Any) -> type | None:
  """The dataclass of a field that holds one, or a mapping or sequence of them; otherwise None."""
  if typing.get_origin(hint) is Annotated:
    return inner(typing.get_args(hint)[0])
  if dataclasses.is_dataclass(hint):
    return typing.cast(type, hint)
  if typing.get_origin(hint) in (Mapping, Sequence):
    return inner(typing.get_args(hint)[-1])
  return None


def _parsed(hint: Any, value: Any, where: str) -> Any:
  kind = inner(hint)
  if kind is None:
    return value
  bare = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
  if typing.get_origin(bare) is Mapping and isinstance(value, Mapping):
    return {key: parse(kind, entry, f'{where}.{key}') for key, entry in value.items()}
  if typing.get_origin(bare) is Sequence and isinstance(value, (list, tuple)):
    return [parse(kind, entry, f'{where}[{place}]') for place, entry in enumerate(value)]
  return parse(kind, value, where) if dataclasses.is_dataclass(bare) else value

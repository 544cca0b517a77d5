"""Types and bounds of arguments, read from annotations and checked before anything runs.

A factory or a block of the config states them once, in its signature:

    def velo(lstm_width: Count = 512, weight_decay: NotNegative = 0.0): ...
"""

import functools
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from l2o.errors import InputError

P = ParamSpec('P')
R = TypeVar('R')


class Range(NamedTuple):
  """Bounds of a number, for `Annotated[int, Range(at_least=1)]`."""

  at_least: float = -math.inf
  above: float = -math.inf
  at_most: float = math.inf
  below: float = math.inf

  def __contains__(self, x: Any) -> bool:
    return self.at_least <= x <= self.at_most and self.above < x < self.below

  def __str__(self) -> str:
    words = {'at_least': 'at least', 'above': 'above', 'at_most': 'at most', 'below': 'below'}
    said = [
      f'{words[name]} {value:g}' for name, value in self._asdict().items() if math.isfinite(value)
    ]
    return ' and '.join(said)


Whole = Annotated[int, Range(at_least=0)]
Count = Annotated[int, Range(at_least=1)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(at_least=0)]
Share = Annotated[float, Range(above=0, below=1)]
Decay = Annotated[float, Range(at_least=0, below=1)]  # of a moving average


def check(function: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> None:
  """Raises InputError if an argument is not what its annotation in the function allows.

  Understands numbers (which must be finite), strings, sequences, mappings, `Literal`, unions and
  None; any other annotation accepts everything.

  Args:
    function: a function, or a class with annotated fields.
    arguments: name -> value; names without an annotation are ignored.
    where: what the arguments belong to, for the error message.

  Example:
    >>> def velo(lstm_width: Count = 512): ...
    >>> check(velo, {'lstm_width': 0}, 'rule velo')
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: rule velo: lstm_width must be at least 1, not 0
  """
  known = hints(function)
  separator = ': ' if ' ' in where else '.'
  for name, value in arguments.items():
    if name in known:
      _check(value, known[name], f'{where}{separator}{name}' if where else name)


def checked(function: Callable[P, R]) -> Callable[P, R]:
  """Decorates a function so that the arguments of every call are checked first.

  Example:
    >>> @checked
    ... def nes(sigma: Positive): return sigma
    >>> nes(sigma=-0.5)
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: nes.sigma must be above 0, not -0.5
  """
  signature = inspect.signature(function)

  @functools.wraps(function)
  def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
    check(function, signature.bind(*args, **kwargs).arguments, function.__name__)
    return function(*args, **kwargs)

  return wrapper


@functools.cache
def hints(function: Callable[..., Any]) -> dict[str, Any]:
  """The annotations of a function's arguments or a class's fields; none if they cannot be read."""
  if isinstance(function, functools.partial):
    return hints(function.func)
  if isinstance(function, type) and '__init__' in vars(function) and not _fields(function):
    function = vars(function)['__init__']
  try:
    return typing.get_type_hints(function, include_extras=True)
  except (NameError, TypeError):  # a third-party function whose annotations do not resolve
    return {}


def _fields(kind: type) -> bool:
  return hasattr(kind, '_fields') or hasattr(kind, '__dataclass_fields__')


def _check(value: Any, hint: Any, key: str) -> None:
  if not _allows(hint, value):
    kind, bounds = _split(hint)
    said = bounds if bounds and _allows(kind, value) else describe(hint)
    raise InputError(f'{key} must be {said}, not {value!r}')
  # Entries are checked one by one, so that the message gives their position.
  if isinstance(value, Mapping):
    for name, entry in value.items():
      _check(entry, _entry(hint, Mapping), f'{key}.{name}')
  elif isinstance(value, Sequence) and not isinstance(value, str):
    for place, entry in enumerate(value):
      _check(entry, _entry(hint, Sequence), f'{key}[{place}]')


def _allows(hint: Any, value: Any) -> bool:
  """Whether a value matches the hint; entries of sequences and mappings are not checked."""
  origin = typing.get_origin(hint)
  if origin is Annotated:
    kind, *bounds = typing.get_args(hint)
    return _allows(kind, value) and all(
      value in bound for bound in bounds if isinstance(bound, Range) and value is not None
    )
  if origin in (typing.Union, types.UnionType):
    return any(_allows(kind, value) for kind in typing.get_args(hint))
  if origin is typing.Literal:
    return value in typing.get_args(hint)
  kind = origin or hint
  if kind in (bool, np.bool_):
    return isinstance(value, (bool, np.bool_))
  if kind is int:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
  if kind is float:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)
  if kind is str:
    return isinstance(value, str)
  if kind in (None, types.NoneType):
    return value is None
  if kind in (list, tuple, Sequence):
    return isinstance(value, Sequence) and not isinstance(value, str)
  if kind in (dict, Mapping):
    return isinstance(value, Mapping)
  return True


def _entry(hint: Any, container: type) -> Any:
  """The hint for the entries of a sequence or mapping; Any if there is none."""
  origin, arguments = typing.get_origin(hint), typing.get_args(hint)
  if origin is Annotated:
    return _entry(arguments[0], container)
  if origin in (typing.Union, types.UnionType):
    kinds = [_entry(kind, container) for kind in arguments if _is_container(kind, container)]
    return kinds[0] if len(kinds) == 1 else Any
  if not _is_container(hint, container) or not arguments:
    return Any
  if container is Mapping:
    return arguments[1]
  fixed = origin is tuple and len(arguments) > 1 and arguments[-1] is not Ellipsis
  return Any if fixed else arguments[0]


def _is_container(hint: Any, container: type) -> bool:
  kind = typing.get_origin(hint) or hint
  return kind in ((dict, Mapping) if container is Mapping else (list, tuple, Sequence))


def _split(hint: Any) -> tuple[Any, str]:
  """The type inside an `Annotated` hint, and its bounds in words."""
  if typing.get_origin(hint) is not Annotated:
    return hint, ''
  kind, *bounds = typing.get_args(hint)
  return kind, ' and '.join(str(bound) for bound in bounds if isinstance(bound, Range))


def describe(hint: Any) -> str:
  """What an annotation allows, in words.

  Example:
    >>> describe(Count), describe(Sequence[int]), describe(float | None)
    ('a whole number of at least 1', 'a list, each a whole number', 'a number or None')
  """
  origin, arguments = typing.get_origin(hint), typing.get_args(hint)
  if origin is Annotated:
    kind, bounds = _split(hint)
    of = ' of ' if bounds.startswith('at ') else ' '
    return describe(kind) + (f'{of}{bounds}' if bounds else '')
  if origin in (typing.Union, types.UnionType):
    return ' or '.join(dict.fromkeys(map(describe, arguments)))
  if origin is typing.Literal:
    return ' or '.join(map(repr, arguments))
  kind = origin or hint
  names = {
    bool: 'True or False', int: 'a whole number', float: 'a number', str: 'a string',
    type(None): 'None', None: 'None',
  }  # fmt: skip
  if kind in names:
    return names[kind]
  if kind in (list, tuple, Sequence):
    entry = _entry(hint, Sequence)
    return 'a list' if entry is Any else f'a list, each {describe(entry)}'
  if kind in (dict, Mapping) or (isinstance(kind, type) and _fields(kind)):
    return 'a block of keys'
  return 'anything' if kind is Any else getattr(kind, '__name__', str(kind))

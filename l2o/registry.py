"""Builds what a config names: lazy tables of factories, checked against their signatures."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from l2o.arguments import check
from l2o.errors import InputError

Table = Mapping[str, str]  # name -> 'package.module:attribute', imported only when it is built


def choose(name: str, choices: Iterable[str], what: str) -> str:
  """Returns `name` if it is one of `choices`.

  Args:
    name: the name in the config.
    choices: the valid names.
    what: what the choices are called in the error.

  Raises:
    InputError: `name` is not one of them; the message lists the choices and the nearest one.

  Example:
    >>> choose('adma', ['adam', 'sgd'], 'rule')
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: there is no rule 'adma' (did you mean 'adam'?); choose from adam, sgd
  """
  choices = sorted(choices)
  if name in choices:
    return name
  hint = _nearest(name, choices)
  raise InputError(f'there is no {what} {name!r}{hint}; choose from {", ".join(choices)}')


def _nearest(name: str, choices: Iterable[str]) -> str:
  near = difflib.get_close_matches(str(name), list(choices), n=1)
  return f' (did you mean {near[0]!r}?)' if near else ''


def resolve(table: Table, name: str, what: str = 'entry') -> Callable[..., Any]:
  """Imports the factory listed under `name`; if there is none, InputError lists the choices.

  Example:
    >>> resolve({'sqrt': 'math:sqrt'}, 'sqrt')(9.0)
    3.0
  """
  module, attribute = table[choose(name, table, what)].split(':')
  return getattr(importlib.import_module(module), attribute)


def check_arguments(function: Callable[..., Any], names: Iterable[str], where: str) -> None:
  """Raises InputError if `function` has no parameter of one of these names.

  Example:
    >>> check_arguments(lambda population=32: None, ['popluation'], 'nes')
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: nes has no 'popluation' (did you mean 'population'?); it takes population
  """
  parameters = inspect.signature(function).parameters
  if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
    return
  if extra := sorted(set(names) - set(parameters)):
    listed = ', '.join(map(repr, extra))
    takes = ', '.join(parameters) or 'no arguments'
    raise InputError(f'{where} has no {listed}{_nearest(extra[0], parameters)}; it takes {takes}')


def check_bounds(
  spec: Mapping[str, Any],
  where: str = '',
  at_least: Mapping[str, float] | None = None,
  above: Mapping[str, float] | None = None,
) -> None:
  """Raises InputError if a number in a block of the config is too small.

  Args:
    spec: the block.
    where: its name, for the error message; '' for the config itself.
    at_least: key -> the smallest value it may have.
    above: key -> a value it must exceed.

  Example:
    >>> check_bounds({'num_steps': 0}, 'pretrain', at_least={'num_steps': 1})
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: pretrain.num_steps must be at least 1, not 0
  """
  prefix = f'{where}.' if where else ''
  for key, low in (at_least or {}).items():
    if not spec[key] >= low:
      raise InputError(f'{prefix}{key} must be at least {low}, not {spec[key]}')
  for key, low in (above or {}).items():
    if not spec[key] > low:
      raise InputError(f'{prefix}{key} must be above {low}, not {spec[key]}')


def call(
  function: Callable[..., Any], arguments: Mapping[str, Any], where: str, **deps: Any
) -> Any:
  """Calls `function` with a block of the config as its arguments.

  Args:
    function: any callable with a signature.
    arguments: the block.
    where: what the block is called, for the error message.
    **deps: objects the caller offers; each is passed only if the function has such a parameter.

  Raises:
    InputError: an argument that is unknown, missing, or not what its annotation allows.

  Example:
    >>> call(lambda width, depth=2: width * depth, {'width': 3}, 'model', seed=0)
    6
  """
  check_arguments(function, arguments, where)
  check(function, arguments, where)
  parameters = inspect.signature(function).parameters
  given = {k: v for k, v in deps.items() if k in parameters} | dict(arguments)
  needed = [
    name
    for name, p in parameters.items()
    if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
  ]
  if missing := [name for name in needed if name not in given]:
    raise InputError(f'{where} needs {", ".join(missing)}')
  return function(**given)


def build(table: Table, spec: Mapping[str, Any], what: str = 'entry', **deps: Any) -> Any:
  """Calls the factory that `spec` names with the rest of `spec` as arguments.

  Args:
    table: name -> 'module:attribute'.
    spec: `{'name': …, **arguments}`, usually a block of the config.
    what: what the table holds, for the error message.
    **deps: objects the caller offers; each is passed only if the factory has such a parameter.

  Returns:
    Whatever the factory returns.

  Raises:
    InputError: no name, a name that is not in the table, or an argument the factory does not take.

  Example:
    >>> table = {'fraction': 'fractions:Fraction'}
    >>> build(table, {'name': 'fraction', 'numerator': 3}, denominator=4, unused=None)
    Fraction(3, 4)
  """
  if not isinstance(spec, Mapping):
    raise InputError(f"the {what} must be a block like {{'name': …}}, not {spec!r}")
  arguments = dict(spec)
  if 'name' not in arguments:
    raise InputError(f'the {what} needs a name; choose from {", ".join(sorted(table))}')
  name = arguments.pop('name')
  return call(resolve(table, name, what), arguments, f'{what} {name}', **deps)

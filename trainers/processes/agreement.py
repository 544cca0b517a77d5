"""Decisions that all processes of a run share.

Whatever reads a clock, a file or the environment may differ between processes: when to save,
whether a run is finished, what is refused. All processes call these functions in the same order;
with one process they cost nothing.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from l2o.errors import InputError, RunError
from trainers.processes import store

T = TypeVar('T')
Combine = Callable[[list[Any]], Any]

KEPT = 2  # rounds whose keys stay in the store, since a slow process may still read the last one
SHOWN = 80  # characters of a value in a message
_rounds = itertools.count()


def decided(decide: Callable[[], T]) -> T:
  """Returns or raises in all processes what process 0 decides: plain data, InputError or RunError.

  `decide` runs in process 0 alone, so it must not call functions of this module.

  Example:
    >>> decided(lambda: [1, 2])
    [1, 2]
  """
  if store.count() == 1:
    return decide()
  return _exchange({'value': None}, lambda _: decide())


def together(do: Callable[[], T]) -> T:
  """Does something in all processes; if one refuses it, all do.

  Args:
    do: what to do; it may use the other functions of this module.

  Raises:
    InputError: from `do`, here or in another process, which the message then names.
    RunError: likewise.

  Example:
    >>> together(lambda: 3)
    3
  """
  if store.count() == 1:
    return do()
  try:
    value = do()
  except (InputError, RunError) as error:
    if not getattr(error, 'agreed', False):
      _exchange(_told(error), own=error)
    raise
  _exchange({'value': None})
  return value


def gathered(value: T) -> list[T]:
  """The plain data of all processes, in the order of their numbers.

  Example:
    >>> gathered('here')
    ['here']
  """
  return [value] if store.count() == 1 else _exchange({'value': value}, lambda values: values)


def same(values: Mapping[str, Any], what: str) -> None:
  """Checks that all processes have the same plain data.

  Args:
    values: name -> value.
    what: what these values are, for the message.

  Raises:
    InputError: they differ; it names the first such value, both processes and what each has.
  """
  if store.count() > 1:
    _exchange({'value': dict(values)}, lambda everybody: _compare(everybody, what))


def _compare(everybody: list[Mapping[str, Any]], what: str) -> None:
  first = everybody[0]
  for number, theirs in enumerate(everybody):
    for key in sorted({*first, *theirs}):
      here, there = (side.get(key, 'missing') for side in (first, theirs))
      if here != there:
        raise InputError(
          f'the processes differ in {what}: {key} is {str(here)[:SHOWN]} in process 0 and '
          f'{str(there)[:SHOWN]} in process {number}; start all of them alike'
        )


def _exchange(
  mine: Mapping[str, Any], combine: Combine | None = None, own: Exception | None = None
) -> Any:
  """Puts an answer into the store; returns or raises what process 0 makes of all answers."""
  number, kv = next(_rounds), store.shared()
  place = f'l2o/round/{number}'
  kv.key_value_set(f'{place}/{store.index()}', json.dumps(mine))
  if store.is_first():
    answers = [json.loads(store.get(f'{place}/{i}')) for i in range(store.count())]
    kv.key_value_set(f'{place}/verdict', json.dumps(_verdict(answers, combine)))
    if number >= KEPT:
      kv.key_value_delete(f'l2o/round/{number - KEPT}/')
  verdict = json.loads(store.get(f'{place}/verdict'))
  if 'error' not in verdict:
    return verdict['value']
  raise _agreed(own or _error(verdict))


def _verdict(answers: list[Any], combine: Combine | None) -> Mapping[str, Any]:
  for number, answer in enumerate(answers):
    if 'error' in answer:
      return {**answer, 'error': f'process {number}: {answer["error"]}'}
  try:
    return {'value': combine([answer['value'] for answer in answers]) if combine else None}
  except (InputError, RunError) as error:
    return _told(error)


def _told(error: Exception) -> dict[str, str]:
  return {'error': str(error), 'kind': type(error).__name__}


def _error(told: Mapping[str, str]) -> Exception:
  """An error of another process, with the class it had there: callers tell classes apart."""
  kinds = {kind.__name__: kind for kind in _kinds(InputError, RunError)}
  return kinds[told['kind']](told['error'])


def _kinds(*bases: type[Exception]) -> Iterator[type[Exception]]:
  for base in bases:
    yield base
    yield from _kinds(*base.__subclasses__())


def _agreed(error: Exception) -> Exception:
  """Marks an error that all processes raise, so that none announces it again."""
  error.agreed = True  # type: ignore[attr-defined]
  return error

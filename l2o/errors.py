"""Exceptions whose message is all a user needs; any other exception keeps its traceback."""


class InputError(ValueError):
  """What the user asked for cannot be done; the message is one sentence with the remedy.

  `main.py` prints the message alone and exits with 2.

  Example:
    >>> raise InputError('population must be even, not 31')
    Traceback (most recent call last):
      ...
    l2o.errors.InputError: population must be even, not 31
  """

  exit_code = 2


class RunError(RuntimeError):
  """A run that cannot continue; the message says where and why. `main.py` exits with 1."""

  exit_code = 1


def first_line(error: BaseException) -> str:
  """The first line of another package's error, short enough to quote in a message of ours.

  Example:
    >>> first_line(OSError('no such file\\nwhile reading')), first_line(KeyError())
    ('no such file', 'KeyError')
  """
  return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

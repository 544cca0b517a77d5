"""Bad records: either the first raises an error that names it, or all are left out and counted."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from absl import logging

from l2o.errors import InputError

OnBadRecord = Literal['error', 'skip']


class BadRecordError(Exception):
  """A record cannot be used as it is; the message names it."""


class BadRecords:
  """What becomes of the bad records of one data set.

  Args:
    where: the data set or its files, for messages.
    on_bad_record: 'error' refuses the first one; 'skip' leaves them out and counts them.
    remedy: what else can be done about one, for the error message.

  Example:
    >>> bad, kept = BadRecords('letters.zip', 'skip'), []
    >>> for label in (0, 1, 7, 0):
    ...   with bad.handled():
    ...     if label > 1:
    ...       raise BadRecordError(f'label {label} is not 0 or 1')
    ...     kept.append(label)
    >>> bad.finish(kept, class_names='ab')
    >>> kept, bad.skipped
    ([0, 1, 0], 1)
  """

  def __init__(
    self, where: str, on_bad_record: OnBadRecord, remedy: str = 'replace or remove it'
  ) -> None:
    self.skipped = 0
    self.where, self._on_bad_record, self._remedy = where, on_bad_record, remedy
    self._first: dict[int, str] = {}  # label -> its first bad record

  @property
  def skips(self) -> bool:
    """Whether bad records are left out."""
    return self._on_bad_record == 'skip'

  @contextlib.contextmanager
  def handled(self, label: int = -1) -> Iterator[None]:
    """Ends its block at a `BadRecordError`.

    Args:
      label: class of the record, if it has one.

    Raises:
      InputError: there was such an error, and bad records are not to be left out.
    """
    try:
      yield
    except BadRecordError as error:
      if not self.skips:
        raise InputError(
          f"{self.where}: {error}; {self._remedy}, or set on_bad_record='skip' to leave such "
          f'records out'
        ) from error
      self._first.setdefault(label, str(error))
      self.skipped += 1

  def finish(self, kept: Sequence[Any], class_names: Sequence[str] = ()) -> None:
    """Logs how many records were left out.

    Args:
      kept: the records that were kept, or their labels.
      class_names: names of the classes, if `kept` are labels.

    Raises:
      InputError: nothing is left, or nothing of a class.
    """
    if not self.skipped:
      return
    lost = sorted({*self._first} - {-1, *kept}) if class_names else []
    first = self._first[lost[0]] if lost else next(iter(self._first.values()))
    if lost or not len(kept):
      of_class = f' of the class {class_names[lost[0]]!r}' if lost else ''
      raise InputError(
        f"{self.where}: on_bad_record='skip' would leave no records{of_class}; the first bad one: "
        f'{first}; {self._remedy}'
      )
    total = self.skipped + len(kept)
    logging.warning(
      '%s: %d of %d records left out; first: %s', self.where, self.skipped, total, first
    )

"""How the programs of this package end on errors that their users can fix."""

import contextlib
import sys
from collections.abc import Iterator

from l2o.errors import InputError


@contextlib.contextmanager
def in_one_sentence() -> Iterator[None]:
  """Ends the program with code 1 and one sentence if the input is wrong or a file is in the way."""
  try:
    yield
  except InputError as error:
    sys.exit(f'error: {error}')
  except OSError as error:  # a full disk has no file's name
    where = f'{error.filename}: ' if error.filename else ''
    sys.exit(f'error: {where}{error.strerror}; free space, allow access, or name another place')

"""Compares runs, in a table and on a page.

python -m reports.compare runs/a runs/b runs/sweep [--out=compare.html]

Runs that differ only in seed are one row; the others are compared with the first one.
"""

import argparse
import pathlib
import sys

from l2o import atomic
from l2o.errors import InputError
from reports import compare
from reports.page.render import render


def main() -> None:
  """Prints the table, and writes the page."""
  parser = argparse.ArgumentParser(
    prog='python -m reports.compare',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('runs', nargs='+', type=pathlib.Path, metavar='RUN', help='a workdir')
  parser.add_argument(
    '--out', type=pathlib.Path, default=pathlib.Path('compare.html'), help='the page to write'
  )
  options = parser.parse_args()
  try:
    found = compare.gather(options.runs)
    print(compare.text(found))
    atomic.replace(options.out, render(compare.document(found)).encode())
  except InputError as error:
    sys.exit(f'error: {error}')
  except OSError as error:
    sys.exit(f'error: {error.filename} cannot be written ({error.strerror}); free it')
  print(f'\n{options.out}')


if __name__ == '__main__':
  main()

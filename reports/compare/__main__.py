"""Compares runs, in a table and on a page.

python -m reports.compare runs/a runs/b runs/sweep [--out=compare.html]

Runs that differ only in seed are one row; the others are compared with the first one.
"""

import argparse
import pathlib

from l2o import atomic
from reports import compare
from reports.exits import in_one_sentence
from reports.page.render import render


def main() -> None:
  """Prints the table, and writes the page."""
  parser = argparse.ArgumentParser(
    prog='python -m reports.compare',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    'runs', nargs='+', type=pathlib.Path, metavar='RUN', help='workdir of a run or a sweep'
  )
  parser.add_argument(
    '--out',
    type=pathlib.Path,
    default=pathlib.Path('compare.html'),
    help='the page to write (%(default)s)',
  )
  options = parser.parse_args()
  with in_one_sentence():
    found = compare.gather(options.runs)
    atomic.replace(options.out, render(compare.document(found)).encode())
  print(compare.text(found))
  print(f'\n{options.out}')


if __name__ == '__main__':
  main()

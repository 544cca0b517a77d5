"""Makes the page of each run, finished or not.

python -m reports.page RUN…

Writes report.html into each workdir. The page of an unfinished run says so in its first line, with
the stage that the run is in.
"""

import argparse
import pathlib

from l2o import atomic
from reports import workdir
from reports.exits import in_one_sentence
from reports.page import make


def main() -> None:
  """Writes the pages and prints their names."""
  parser = argparse.ArgumentParser(prog='python -m reports.page', description=__doc__)
  parser.add_argument(
    'runs', nargs='+', type=pathlib.Path, metavar='RUN', help='workdir of a run or a sweep'
  )
  options = parser.parse_args()

  for run in options.runs:
    with in_one_sentence():
      page = make(run)
      atomic.replace(run / workdir.PAGE, page.encode())
    print(run / workdir.PAGE)


if __name__ == '__main__':
  main()

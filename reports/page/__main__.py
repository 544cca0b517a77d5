"""Makes the page of each run, finished or not.

python -m reports.page RUN…

Writes report.html into each workdir. The page of an unfinished run says so in its first line, with
the stage that the run is in.
"""

import argparse
import pathlib
import sys

from l2o import atomic
from l2o.errors import InputError
from reports import workdir
from reports.page import make


def main() -> None:
  """Writes the pages and prints their names."""
  parser = argparse.ArgumentParser(prog='python -m reports.page', description=__doc__)
  parser.add_argument('runs', nargs='+', type=pathlib.Path, metavar='RUN', help='a workdir')
  options = parser.parse_args()

  for run in options.runs:
    try:
      page = make(run)
      atomic.replace(run / workdir.PAGE, page.encode())
    except InputError as error:
      sys.exit(f'error: {error}')
    except OSError as error:
      sys.exit(f'error: {error.filename} cannot be written ({error.strerror}); free it')
    print(run / workdir.PAGE)


if __name__ == '__main__':
  main()

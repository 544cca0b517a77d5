"""Redraws the figures of runs in the current style.

python -m reports.figures RUN… [--out=FOLDER] [--row=NAME…]

A RUN is the workdir of a finished run or sweep, whose `figures/` is rewritten, or a file of records
(records.csv.gz) or of an L3RS's trace (trace.npz). A file needs --out, and its name becomes a
prefix of its figures' names. --row draws one row of a sweep of training jobs; repeated, several.
"""

import argparse
import pathlib
from collections.abc import Sequence

from l2o import atomic
from l2o.errors import InputError
from reports import report, workdir
from reports.exits import in_one_sentence
from reports.figures import of_run
from reports.figures.style import png


def main() -> None:
  """Writes PNG files and prints their names."""
  parser = argparse.ArgumentParser(prog='python -m reports.figures', description=__doc__)
  what = 'workdir of a finished run or sweep, or a file of records or of a trace'
  parser.add_argument('runs', nargs='+', type=pathlib.Path, metavar='RUN', help=what)
  parser.add_argument('--out', type=pathlib.Path, help='the folder of all figures')
  parser.add_argument(
    '--row', action='append', default=[], metavar='NAME', help='a row of a sweep; default: all'
  )
  options = parser.parse_args()
  with in_one_sentence():
    for run in options.runs:
      _draw(run, options.out, options.row)


def _draw(run: pathlib.Path, out: pathlib.Path | None, rows: Sequence[str]) -> None:
  if run.is_dir():
    if rows and not out:
      raise InputError('--row needs --out=FOLDER: the figures in the workdir are of all rows')
    loaded = workdir.load(run)
    figures = of_run.of_run(of_run.only(loaded, rows) if rows else loaded)
    folder, prefix = run / workdir.FIGURES, ''
    if out:
      prefix = f'{run.resolve().name}_'
  elif rows:
    raise InputError(f'{run} has no rows to choose: --row is for the workdir of a sweep')
  else:
    draw = report.of_trace if run.suffix == '.npz' else of_run.of_records
    figures, folder, prefix = draw(run), None, f'{run.name.split(".")[0]}_'
    if not figures:
      raise InputError(f'{run} has no numbers for a figure; give a run or its records')
  folder = out or folder
  if folder is None:
    raise InputError(f'{run} is a file: add --out=FOLDER for its figures')
  folder.mkdir(parents=True, exist_ok=True)
  for name, figure in figures.items():
    atomic.replace(folder / f'{prefix}{name}.png', png(figure))
    print(folder / f'{prefix}{name}.png')


if __name__ == '__main__':
  main()

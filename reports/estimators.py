"""The meta-loss that meta-gradient estimators reach, against inner steps.

python -m reports.estimators ROOT… [--out=FIGURE.png] [--measure=eval_loss] [--records=FILE.csv.gz]

A ROOT is the workdir of a sweep whose `meta_train.eval_every` is not 0, such as one of
configs/estimators.py, or a file that `--records` wrote. Roots are pooled: they may hold different
seeds of the same estimators. Runs whose meta-training has not ended are left out and named; a run
that stopped because nothing was finite any more has no finite value from there on.
"""

import argparse
import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from l2o import atomic
from l2o.errors import InputError
from reports import records, results, tables, training, workdir
from reports.exits import in_one_sentence
from reports.figures.style import png

MEASURES = {  # of an evaluation of theta -> its axis label
  'eval_mean_loss': 'meta-loss (mean training loss)',
  'eval_loss': 'final evaluation loss',
  'eval_accuracy': 'final accuracy',
}
MEASURE = next(iter(MEASURES))
PARTS = {'start': 0.0, 'a quarter': 0.25, 'half': 0.5, 'end': 1.0}  # column -> share of the steps

# Location, (estimator, seed), and 'K' and 'value' of its evaluations; None if it has not ended.
Run = tuple[str, tuple[str, int], pd.DataFrame | None]


def label(estimator: Mapping[str, Any]) -> str:
  """The label of an estimator, with its window if it has one.

  Example:
    >>> label({'name': 'pes', 'window': 10, 'sigma': 0.01}), label({'name': 'nes'})
    ('pes, W=10', 'nes')
  """
  window = estimator.get('window')
  return f'{estimator["name"]}, W={window}' if window else estimator['name']


def gather(roots: Sequence[pathlib.Path], measure: str = MEASURE) -> tuple[pd.DataFrame, list[str]]:
  """The evaluations of theta in all runs, and the folders of those that have not ended.

  Returns:
    A table with a row for each evaluation: 'row' (the estimator), 'seed', 'K' (inner steps so far),
    'measure', 'value' (NaN if it was not finite), 'hand_designed' (True: no line stands out).

  Raises:
    InputError: a root is neither a sweep nor a file of records, a run is given twice, or none has
      ended.
  """
  parts: dict[tuple[str, int], pd.DataFrame] = {}
  unfinished = []
  for root in roots:
    runs = _read(root, measure) if root.is_file() else _of_sweep(root, measure)
    for where, key, found in runs:
      if found is None:
        unfinished.append(where)
      elif key in parts:
        raise InputError(f'{where}: there are two runs of {key[0]} with seed {key[1]}; give one')
      else:
        parts[key] = found.assign(row=key[0], seed=key[1], measure=measure, hand_designed=True)
  if not parts:
    raise InputError(
      f'{", ".join(map(str, roots))}: no run has evaluated {measure} up to its last generation; '
      f'set meta_train.eval_every and finish the sweep'
    )
  return pd.concat([parts[key] for key in sorted(parts)], ignore_index=True), unfinished


def _of_sweep(root: pathlib.Path, measure: str) -> Iterator[Run]:
  run = workdir.load(root)
  if not run.is_sweep:
    raise InputError(f'{root} holds a single run; give the workdirs of sweeps')
  for seeds in run.seeds.values():
    for seed, path in seeds.items():
      config = workdir.load(path).config
      yield str(path), (label(config['estimator']), seed), _evaluations(path, config, measure)


def _read(file: pathlib.Path, measure: str) -> Iterator[Run]:
  held = records.read(file, 'write it again with --records')
  for (row, seed), of_run in held[held['measure'] == measure].groupby(['optimizer', 'seed']):
    yield str(file), (row, seed), of_run[['K', 'value']].astype(float)


def keep(roots: Sequence[pathlib.Path]) -> bytes:
  """The bytes of a file with the evaluations of all runs that have ended, in every measure."""
  parts = []
  for measure in MEASURES:
    with contextlib.suppress(InputError):  # not every task has an accuracy
      parts.append(gather(roots, measure)[0])
  known = {'experiment': 'meta_train', 'source': '', 'setting': '', 'task': 0}
  return records.pack(pd.concat(parts).rename(columns={'row': 'optimizer'}).assign(**known))


def _evaluations(
  path: pathlib.Path, config: Mapping[str, Any], measure: str
) -> pd.DataFrame | None:
  """'K' and 'value' of each of a run's evaluations; None if the run has not ended."""
  spec, steps, found, lost = config['meta_train'], {0: 0}, {}, False
  for row in results.read_lines(path / 'meta_train' / workdir.METRICS):
    if measure in row:
      found[row['step']] = row[measure]
    elif 'num_steps' in row:  # a generation
      whole = row['candidates'] * row['num_steps'] * spec['meta_batch']
      steps[row['step']] = row.get('inner_steps', whole)
      lost = row.get('nonfinite', 0) >= row['candidates']
  last = spec['num_generations']
  if last not in found and not lost:
    return None
  steps |= dict.fromkeys(range(max(steps) + 1, last + 1), max(steps.values()))
  never = dict.fromkeys(range(spec['eval_every'], last + 1, spec['eval_every']), np.nan)
  found = dict(sorted((never | found).items()))
  done = [sum(n for step, n in steps.items() if step <= at) for at in found]
  return pd.DataFrame({'K': np.round(done).astype(int), 'value': [*found.values()]}, dtype=float)


def render(found: pd.DataFrame) -> str:
  """A Markdown table: mean ± standard deviation over seeds at fractions of the inner steps.

  Args:
    found: from `gather`.
  """
  lines = []
  for row, of_row in found.groupby('row'):
    by_seed = [of_seed.set_index('K')['value'] for _, of_seed in of_row.groupby('seed')]
    last = max(values.index.max() for values in by_seed)
    cells = [_cell([_nearest(values, part * last) for values in by_seed])
             for part in PARTS.values()]  # fmt: skip
    lines.append([row, str(len(by_seed)), f'{last:,.0f}', *cells])
  columns = ['estimator', 'seeds', 'inner steps', *PARTS]
  return tables.render(pd.DataFrame(lines, columns=columns), 'markdown')


def _nearest(values: pd.Series, steps: float) -> float:
  """The value of the evaluation nearest to this number of inner steps."""
  return float(values.iloc[int(np.argmin(np.abs(values.index - steps)))])


def _cell(values: Sequence[float]) -> str:
  lost = sum(not np.isfinite(value) for value in values)
  if lost:
    return f'not finite ({lost} of {len(values)})'
  return f'{np.mean(values):.3f} ± {np.std(values):.3f}'


def draw(found: pd.DataFrame, measure: str) -> Figure:
  """A line for each estimator: the mean over seeds, with a band from lowest to highest."""
  figure = training.curves(list(found['row'].unique()), found, measure, MEASURES[measure])
  figure.axes[0].set(xlabel='inner steps')
  return figure


def main() -> None:
  """Prints the table, and draws the figure if asked to."""
  parser = argparse.ArgumentParser(prog='python -m reports.estimators', description=__doc__)
  parser.add_argument(
    'roots', nargs='+', type=pathlib.Path, help='workdirs of sweeps, or files of records'
  )
  parser.add_argument('--out', type=pathlib.Path, help='the figure, a PNG file')
  parser.add_argument(
    '--measure', choices=list(MEASURES), default=MEASURE, help='what is shown (%(default)s)'
  )
  parser.add_argument('--records', type=pathlib.Path, help='a file to keep the evaluations in')
  options = parser.parse_args()
  with in_one_sentence():
    found, unfinished = gather(options.roots, options.measure)
    if options.records:
      atomic.replace(options.records, keep(options.roots))
    if options.out:
      atomic.replace(options.out, png(draw(found, options.measure)))
  print(render(found))
  print(f'\n{MEASURES[options.measure]}: mean ± standard deviation over seeds.')
  if unfinished:
    print(f'Not ended, and left out: {", ".join(unfinished)}.')


if __name__ == '__main__':
  main()

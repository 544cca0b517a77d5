"""The report of a finished run: its table and its figures."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from reports import figures, results, speedup, table


def make(rows: results.Results, folder: pathlib.Path) -> tuple[str, dict[str, Figure]]:
  """The table of a run with its speed-up lines, and its figures by name.

  Args:
    rows: the rows of results.json.
    folder: the run's folder, with its stages' metrics and traces.
  """
  read = results.frame(rows)
  text, drawn = table.render(read), {'accuracy': figures.accuracy_against_steps(read)}
  if read['hand_designed'].any():  # baselines to compare the speed with
    lines = [
      speedup.line(read, experiment, optimizer)
      for experiment in results.experiments(read)
      for optimizer in results.learned(read)
    ]
    families = speedup.table(read, results.learned(read)[0])
    text = '\n'.join([text, '', *lines, '', families])
    drawn['speedup'] = figures.speedup_curve(read)
  logged = results.read_lines(folder / 'meta_train' / 'metrics.jsonl')
  if generations := [row for row in logged if 'num_steps' in row]:
    drawn['meta_training'] = figures.meta_training_curve(generations)
  with np.load(folder / 'meta_evaluate' / 'trace.npz') as trace:
    mu = {name.partition('/')[2]: trace[name] for name in trace.files if name.startswith('mu/')}
    if mu:
      layers = trace['layers'].tolist()
      drawn['mixture'] = figures.mixture_against_step(mu, trace['lambda'], layers)
  return text, drawn

"""The report of a finished run: its table and its figures."""

import pathlib
import zipfile
import zlib

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from l2o.errors import InputError
from reports import figures, results, speedup, table

DAMAGE = (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)  # of an npz file


def make(rows: results.Results, folder: pathlib.Path) -> tuple[str, dict[str, Figure]]:
  """The table of a run with its speed-up lines, and its figures by name.

  Args:
    rows: the rows of results.json.
    folder: the run's folder, with its stages' metrics and traces.
  """
  read = results.frame(rows)
  text = table.render(read)
  if read['hand_designed'].any():  # there are baselines to compare the speed with
    lines = [
      speedup.line(read, experiment, optimizer)
      for experiment in results.experiments(read)
      for optimizer in results.learned(read)
    ]
    families = speedup.table(read, results.learned(read)[0])
    text = '\n'.join([text, '', *lines, '', families])
  return text, compared(read) | meta_trained(folder) | traced(folder)


def compared(rows: pd.DataFrame) -> dict[str, Figure]:
  """Figures of the evaluation. `rows`: from `results.frame`."""
  drawn = {'accuracy': figures.accuracy_against_steps(rows)}
  if rows['hand_designed'].any() and results.learned(rows):
    drawn['speedup'] = figures.speedup_curve(rows)
  return drawn


def meta_trained(folder: pathlib.Path) -> dict[str, Figure]:
  """The figure of meta-training so far, if a generation has been logged."""
  logged = results.read_lines(folder / 'meta_train' / 'metrics.jsonl')
  generations = [row for row in logged if 'num_steps' in row]
  return {'meta_training': figures.meta_training_curve(generations)} if generations else {}


def traced(folder: pathlib.Path) -> dict[str, Figure]:
  """The figure of what an L3RS chose at each step, if it was traced."""
  path = folder / 'meta_evaluate' / 'trace.npz'
  return of_trace(path) if path.is_file() else {}


def of_trace(path: pathlib.Path) -> dict[str, Figure]:
  """The same, from a trace file.

  Raises:
    InputError: the file is missing or damaged.
  """
  try:
    with np.load(path) as trace:
      mu = {name.partition('/')[2]: trace[name] for name in trace.files if name.startswith('mu/')}
      norms, layers = trace['lambda'] if mu else None, trace['layers'].tolist() if mu else []
  except (*DAMAGE, OSError, KeyError) as error:
    raise InputError(
      f'{path} is not the trace of a run ({error}); give the command of its run again'
    ) from error
  return {'mixture': figures.mixture_against_step(mu, norms, layers)} if mu else {}

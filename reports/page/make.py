"""The page of any run."""

import pathlib
from typing import Any

from reports import workdir
from reports.page import job, pipeline, sweep
from reports.page.blocks import Document
from reports.page.render import render
from reports.workdir import Workdir


def make(path: pathlib.Path, results: Any = None) -> str:
  """The page of a run, a sweep or a training job, finished or not.

  Args:
    path: the run's workdir.
    results: the content of results.json, if it is not written yet.

  Raises:
    InputError: there is no run, or a file that the page needs is damaged.
  """
  return render(document(workdir.load(path, results)))


def document(run: Workdir) -> Document:
  """The page as blocks."""
  if run.is_sweep:
    return sweep.document(run)
  return job.document(run) if run.is_job else pipeline.document(run)

"""Metrics of a run: TensorBoard events and `metrics.jsonl`, through clu's writers."""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from clu import metric_writers
from clu.metric_writers import interface

from reports.results import read_lines


class JsonLinesWriter(interface.MetricWriter):
  """Writes scalars as lines `{"step": …, name: value, …}`; everything else is left to others.

  Args:
    path: the file. Lines beyond step `start` are dropped: a resumed run writes them again.
    start: steps that are already done.
  """

  def __init__(self, path: pathlib.Path, start: int = 0):
    kept = [row for row in read_lines(path) if row['step'] <= start]
    if start and not kept:
      logging.warning('%s lacks the first %d steps: figures begin after them', path, start)
    partial = path.with_suffix('.partial')
    partial.write_text(''.join(json.dumps(row) + '\n' for row in kept))
    partial.replace(path)  # a kill here loses no row
    self._file = path.open('a')

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    self._write({'step': int(step)} | {name: number(x) for name, x in scalars.items()})

  def flush(self) -> None:
    self._file.flush()

  def close(self) -> None:
    self._file.close()

  def _write(self, row: Mapping[str, Any]) -> None:
    self._file.write(json.dumps(row) + '\n')
    self._file.flush()

  def write_summaries(self, step, values, metadata=None): ...
  def write_images(self, step, images): ...
  def write_videos(self, step, videos): ...
  def write_audios(self, step, audios, *, sample_rate): ...
  def write_texts(self, step, texts): ...
  def write_histograms(self, step, arrays, num_buckets=None): ...
  def write_hparams(self, hparams): ...


def create_writer(folder: pathlib.Path, start: int = 0) -> interface.MetricWriter:
  """Events for TensorBoard and `metrics.jsonl`, both in `folder`."""
  folder.mkdir(parents=True, exist_ok=True)
  lines = JsonLinesWriter(folder / 'metrics.jsonl', start)
  return metric_writers.MultiWriter([metric_writers.SummaryWriter(str(folder)), lines])


def number(x: Any) -> float | None:
  """A JSON number; JSON has no NaN or infinity."""
  value = float(np.asarray(x))
  return value if math.isfinite(value) else None

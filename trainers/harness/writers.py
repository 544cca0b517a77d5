"""Metrics of a run: `metrics.jsonl`, and TensorBoard events if TensorFlow is installed."""

import contextlib
import functools
import json
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from absl import logging

from l2o import atomic
from l2o.errors import first_line
from reports.results import read_lines
from trainers.harness.folder import METRICS, Folder


class Writer(Protocol):
  """Where a stage writes its metrics."""

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None: ...
  def close(self) -> None: ...


class JsonLinesWriter:
  """Writes scalars as lines `{"step": …, name: value, …}`.

  Args:
    path: the file. Lines past step `start` are dropped, since a resumed run rewrites them.
    start: steps already done; 0 drops all lines.
  """

  def __init__(self, path: pathlib.Path, start: int = 0):
    kept = [row for row in read_lines(path) if row['step'] <= start] if start else []
    if start and not kept:
      logging.warning('%s lacks the first %d steps: figures begin after them', path, start)
    atomic.replace(path, ''.join(json.dumps(row) + '\n' for row in kept).encode())
    self._file = path.open('a')

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    self._write({'step': int(step)} | {name: number(x) for name, x in scalars.items()})

  def close(self) -> None:
    self._file.close()

  def _write(self, row: Mapping[str, Any]) -> None:
    self._file.write(json.dumps(row) + '\n')
    self._file.flush()


class Writers:
  """Several writers as one."""

  def __init__(self, writers: Sequence[Writer]):
    self._writers = writers

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    for writer in self._writers:
      writer.write_scalars(step, scalars)

  def close(self) -> None:
    for writer in self._writers:
      writer.close()


def create_writer(folder: Folder, start: int = 0) -> Writer:
  """Writes `metrics.jsonl` in `folder`, and TensorBoard events if clu's writer can be imported."""
  if not folder.writes:
    return Writers([])
  folder.path.mkdir(parents=True, exist_ok=True)
  lines = JsonLinesWriter(folder / METRICS, start)
  event_writer = _event_writer()
  return Writers([event_writer(str(folder.path)), lines]) if event_writer else lines


def show(folder: Folder, texts: Mapping[str, str], images: Mapping[str, np.ndarray]) -> None:
  """Writes a run's texts and images as TensorBoard events, if clu's writer can be imported.

  Args:
    folder: the run's folder.
    texts: name -> Markdown.
    images: name -> [H, W, 3], uint8.
  """
  event_writer = _event_writer() if folder.writes else None
  if event_writer:
    with contextlib.closing(event_writer(str(folder.path))) as writer:
      writer.write_texts(0, texts)
      writer.write_images(0, {name: image[None] for name, image in images.items()})


def _event_writer() -> Callable[[str], Any] | None:
  try:
    from clu.metric_writers import SummaryWriter  # imports TensorFlow: five seconds
  except ImportError as error:
    _tell_once(
      f'[run] metrics.jsonl alone, without TensorBoard events ({first_line(error)}): they need pip '
      f"install 'l2o[tensorflow]'"
    )
    return None
  return SummaryWriter


@functools.cache
def _tell_once(text: str) -> None:
  print(text, flush=True)


def number(x: Any) -> float | None:
  """x as a JSON number; None for NaN and infinity, which JSON lacks."""
  value = float(np.asarray(x))
  return value if math.isfinite(value) else None

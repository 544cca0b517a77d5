"""Videos of a small car and its steering angles, as DeepPicar records them.

out-video-N.avi with out-key-N.csv beside it, which has one row per frame and its angle in column
`wheel`: 0 for straight on, positive to the right. Source: M. Bechtel et al., "DeepPicar: A Low-cost
Deep Neural Network-based Autonomous Car", arXiv 1712.08644; their recorder writes radians
(github.com/mbechtel2/DeepPicar-v2, picar-mini-kbd-common.py).
"""

import csv
import io
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from datasets.archive import UNREADABLE, Files
from datasets.records import BadRecordError
from l2o.errors import first_line
from l2o.optional import require

VIDEO = re.compile(r'((?:.*/)?)out-video-(\d+)\.avi')
KEY = re.compile(r'((?:.*/)?)out-key-(\d+)\.csv')
COLUMN = 'wheel'
Unit = Literal['radians', 'degrees']
HALF_TURN = {'radians': math.pi, 'degrees': 180.0}
OTHER = {'radians': 'degrees', 'degrees': 'radians'}


def names(files: Sequence[str]) -> list[tuple[str, str]]:
  """The videos among some files, each with its csv, in the order of folders and numbers.

  One of the two may be missing.

  Example:
    >>> names(['a/out-video-10.avi', 'a/out-key-9.csv', 'other.avi'])
    [('a/out-video-9.avi', 'a/out-key-9.csv'), ('a/out-video-10.avi', 'a/out-key-10.csv')]
  """
  matches = [VIDEO.fullmatch(name) or KEY.fullmatch(name) for name in files]
  found = {(match[1], int(match[2]), match[2]) for match in matches if match}
  return [
    (f'{folder}out-video-{number}.avi', f'{folder}out-key-{number}.csv')
    for folder, _, number in sorted(found)
  ]


def read(
  files: Files,
  video: str,
  key: str,
  unit: Unit,
  max_side: int,
  see: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
  """The frames of a video and their angles.

  Args:
    files: the files it is in.
    video: name of the video.
    key: name of its csv.
    unit: unit of the csv's angles.
    max_side: pixels; a video with larger frames is not decoded.
    see: what is kept of a frame [H, W, 3] uint8.

  Returns:
    (frames [N, ...], angles [N] in degrees from straight on).

  Raises:
    BadRecordError: one of the files is missing or cannot be read, the csv lacks the column or has
      something other than angles in it, or there are more or fewer frames than angles.
    InputError: the extra 'video' is not installed.
  """
  missing = next((name for name in (video, key) if name not in files.names), None)
  if missing is not None:
    raise BadRecordError(f'{missing} is missing beside {key if missing == video else video}')
  angles = _angles(_content(files, key), key, unit)
  frames = _frames(_content(files, video), video, max_side)
  kept = [see(frame) for frame in itertools.islice(frames, len(angles))]
  count = len(kept) + sum(1 for _ in frames)
  if count != len(angles):
    raise BadRecordError(f'{video} has {count} frames but {key} {len(angles)} angles')
  return np.stack(kept), angles * (180.0 / HALF_TURN[unit])


def _content(files: Files, name: str) -> bytes:
  try:
    return files.read(name)
  except UNREADABLE as error:
    raise BadRecordError(f'{name} cannot be read ({first_line(error)})') from error


def _angles(content: bytes, name: str, unit: Unit) -> np.ndarray:
  try:
    rows = list(csv.DictReader(io.StringIO(content.decode('utf-8-sig'))))
  except (UnicodeDecodeError, csv.Error) as error:
    raise BadRecordError(f'{name} cannot be read as text ({first_line(error)})') from error
  if not rows or COLUMN not in rows[0]:
    raise BadRecordError(f'{name} has no column {COLUMN!r} with rows below it')
  angles = [_angle(row[COLUMN]) for row in rows]
  for row, angle in enumerate(angles):
    if not abs(angle) <= HALF_TURN[unit]:
      raise BadRecordError(
        f'row {row + 1} of {name} has {COLUMN} = {rows[row][COLUMN]}, which is not an angle of at '
        f'most half a turn in {unit} (batch_source.wheel = {OTHER[unit]!r} reads {OTHER[unit]})'
      )
  return np.array(angles)


def _angle(text: str | None) -> float:
  try:
    return float(text or 'nan')
  except ValueError:
    return math.nan


def _frames(content: bytes, name: str, max_side: int) -> Iterator[np.ndarray]:
  """Decodes a video [H, W, 3] uint8, frame by frame."""
  av = require('av', extra='video', what='batch source')
  try:
    with av.open(io.BytesIO(content), format='avi') as file:
      stream = file.streams.video[0]
      if max(stream.width, stream.height) > max_side:
        raise BadRecordError(
          f'{name} has frames of {stream.width} x {stream.height}, more than {max_side} pixels on '
          f'a side'
        )
      # A damaged frame is an error; it must not be made up from its neighbours.
      stream.codec_context.options = {'err_detect': 'explode', 'max_pixels': f'{max_side**2}'}
      for frame in file.decode(stream):
        if frame.is_corrupt:
          raise BadRecordError(f'{name} has a damaged frame')
        yield frame.to_ndarray(format='rgb24')
  except (av.error.FFmpegError, IndexError, ValueError) as error:  # IndexError: without a stream
    reason = getattr(error, 'strerror', None) or first_line(error)
    raise BadRecordError(f'{name} cannot be decoded as a video ({reason})') from error

"""`lane_keeping`: video frames of a small car and its steering angles.

In a folder or a zip file: JPEG frames named VIDEO_NUMBER_ANGLE.jpg, with the angle in degrees, 90
for straight on; or videos as DeepPicar records them (`datasets/driving_videos.py`); or both.
"""

import itertools
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets import driving_videos
from datasets.archive import Files, open_files, read_jpeg
from datasets.batch_sources import Arrays, BatchSource
from datasets.records import BadRecordError, BadRecords, OnBadRecord
from l2o.arguments import Count, Positive, Whole, checked
from l2o.errors import InputError

VARIABLE = 'L2O_LANE_KEEPING'
HEIGHT, WIDTH = 66, 200  # size of the network's input
MAX_SIDE = 4096  # pixels of a frame
STRAIGHT = 90  # degrees
ENDS = (0.75, 0.85)  # fractions of a video where training and validation end
LAYOUT = 'frames named like video01_117_073.jpg, or videos out-video-1.avi with out-key-1.csv'
NAME = re.compile(r'(?:.*/)?([^/]+)_(\d+)_(\d+)\.jpe?g', re.IGNORECASE)


class _Video(NamedTuple):
  """Consecutive frames."""

  frames: np.ndarray  # [N, 66, 200, 3] uint8
  angles: np.ndarray  # [N] degrees from straight on


@checked
def lane_keeping(
  seed: Whole,
  path: str = '',
  num_steps: Count = 11,
  batch_size: Count = 4,
  unit: Positive = 1.0,
  pixels: bool = False,
  wheel: driving_videos.Unit = 'radians',
  on_bad_record: OnBadRecord = 'error',
) -> BatchSource:
  """Sequences of frames in, steering angles out; split by time, since adjacent frames are alike.

      frames [B, T, 66, 200, 3] in [-1, 1],    target [B, T, 1] = degrees from straight on / unit

  The first 75 % of each video are for training, in batches of sequences that start anywhere; the
  next 10 % are for evaluation and the last 15 % for the test, cut into consecutive sequences; an
  incomplete last one is dropped. Only the lower half of a frame is used: it shows the
  road.

  Args:
    seed: seed of the choice of sequences.
    path: the folder or zip file; if empty, the variable L2O_LANE_KEEPING names it.
    num_steps: T, frames per sequence.
    batch_size: sequences per batch.
    unit: degrees per target unit.
    pixels: whether frames are uint8 as they are stored, for a task with preprocessing.
    wheel: unit of the angles in out-key-N.csv; DeepPicar's recorder writes radians.
    on_bad_record: 'error' names the first video that lacks a frame or has an unreadable one, or has
      more or fewer frames than its csv has angles; 'skip' leaves such videos out and counts them.

  Raises:
    InputError: there are no data, a frame is misnamed, a video is bad or needs the extra 'video',
      a block is too short for a sequence, or a number is out of bounds.
  """
  where = _where(path)
  bad = BadRecords(f'{where}', on_bad_record)
  parts = [_blocks(video) for video in _videos(open_files(where), where, wheel, bad)]
  training, validation, test = zip(*parts, strict=True)
  shortest = min(len(block.angles) for block in (*training, *validation, *test))
  if shortest < num_steps:
    raise InputError(
      f'batch_source.num_steps must be at most {shortest}, the number of frames in the shortest '
      f'block of {where}, not {num_steps}'
    )

  batch = partial(_batch, unit=unit, pixels=pixels)
  starts = [(v, k) for v in training for k in range(len(v.angles) - num_steps + 1)]

  def sample(number: int) -> Arrays:
    chosen = np.random.default_rng((seed, number)).integers(len(starts), size=batch_size)
    return batch([_part(*starts[i], num_steps) for i in chosen])

  def tiled(blocks: Sequence[_Video]) -> Arrays:
    whole = [range(0, len(v.angles) - num_steps + 1, num_steps) for v in blocks]
    return batch([_part(v, k, num_steps) for v, at in zip(blocks, whole, strict=True) for k in at])

  return BatchSource(sample, tiled(validation), sample(0), tiled(test), skipped=bad.skipped)


def _where(path: str) -> pathlib.Path:
  if found := path or os.environ.get(VARIABLE):
    return pathlib.Path(found)
  raise InputError(
    f"the batch source 'lane_keeping' needs frames: set batch_source.path or the variable "
    f'{VARIABLE} to a folder or zip file of {LAYOUT}'
  )


def _batch(sequences: Sequence[_Video], unit: float, pixels: bool) -> Arrays:
  frames = np.stack([s.frames for s in sequences])
  if not pixels:
    frames = frames.astype(np.float32) / 127.5 - 1.0
  angles = np.stack([s.angles for s in sequences]).astype(np.float32)
  return {'frames': frames, 'target': angles[..., None] / np.float32(unit)}


def _part(video: _Video, start: int, length: int) -> _Video:
  return _Video(video.frames[start : start + length], video.angles[start : start + length])


def _blocks(video: _Video) -> list[_Video]:
  """Training, validation and test."""
  ends = [round(end * len(video.angles)) for end in ENDS]
  edges = [0, *ends, len(video.angles)]
  return [_part(video, a, b - a) for a, b in itertools.pairwise(edges)]


def _videos(
  files: Files, where: pathlib.Path, wheel: driving_videos.Unit, bad: BadRecords
) -> list[_Video]:
  listed, recorded = _listed(files, where), driving_videos.names(files.names)
  if not (listed or recorded):
    raise InputError(f'{where} has no {LAYOUT}')
  videos = []
  for name, frames in sorted(listed.items()):
    with bad.handled():
      videos.append(_video(files, name, frames))
  for video, key in recorded:
    with bad.handled():
      videos.append(_Video(*driving_videos.read(files, video, key, wheel, MAX_SIDE, _seen)))
  bad.finish(videos)
  return videos


def _listed(files: Files, where: pathlib.Path) -> dict[str, dict[int, tuple[str, int]]]:
  """The frames by video and number, each with its angle."""
  listed: dict[str, dict[int, tuple[str, int]]] = {}
  for name in files.names:
    if not name.lower().endswith(('.jpg', '.jpeg')):
      continue
    match = NAME.fullmatch(name)
    if match is None or not int(match[3]) <= 2 * STRAIGHT:
      raise InputError(
        f'{where}: {name} is not named VIDEO_NUMBER_ANGLE.jpg with an angle of 0 to 180 degrees'
      )
    frames = listed.setdefault(match[1], {})
    if int(match[2]) in frames:
      raise InputError(f'{where}: {name} has the same number as {frames[int(match[2])][0]}')
    frames[int(match[2])] = name, int(match[3])
  return listed


def _video(files: Files, video: str, frames: Mapping[int, tuple[str, int]]) -> _Video:
  first, last = min(frames), max(frames)
  missing = next((number for number in range(first, last) if number not in frames), None)
  if missing is not None:
    raise BadRecordError(f'{video} lacks frame {missing}, and its frames must be consecutive')
  ordered = [frames[number] for number in range(first, last + 1)]
  images = np.stack([_seen(read_jpeg(files, name, MAX_SIDE)) for name, _ in ordered])
  return _Video(images, np.array([angle - STRAIGHT for _, angle in ordered]))


def _seen(frame: np.ndarray) -> np.ndarray:
  """The lower half of a frame, as the network sees it."""
  road = Image.fromarray(frame[frame.shape[0] // 2 :])
  return np.asarray(road.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))

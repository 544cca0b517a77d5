"""`idx`: MNIST-like data sets in IDX files, Fashion-MNIST for example.

Format: Y. LeCun, "The MNIST database of handwritten digits": a magic number 0, 0, type, rank; one
big-endian 32-bit length for each axis; the values.
"""

import gzip
import math
import os
import pathlib
import struct
import zlib

import numpy as np

from datasets.records import BadRecordError, BadRecords, OnBadRecord
from datasets.source import ArraySource
from l2o.arguments import checked
from l2o.errors import InputError, first_line
from l2o.registry import choose

PREFIX = {'train': 'train', 'validation': 't10k'}
TRAIN_LABELS = 'train-labels-idx1-ubyte'  # they determine the number of classes
VARIABLE = 'L2O_IDX_DIR'


@checked
def idx(split: str, folder: str = '', on_bad_record: OnBadRecord = 'error') -> ArraySource:
  """Reads one split from `<prefix>-images-idx3-ubyte` and `-labels-idx1-ubyte`, plain or .gz.

  Args:
    split: 'train' (prefix train) or 'validation' (prefix t10k).
    folder: where the four files are; if empty, the environment variable L2O_IDX_DIR names it.
    on_bad_record: 'error' names the first validation image whose class training does not have;
      'skip' leaves such images out and counts them.

  Raises:
    InputError: a file, named in the message, is missing, truncated or in another format; a record
      is bad.
  """
  prefix = PREFIX[choose(split, PREFIX, 'split')]
  where = pathlib.Path(folder or os.environ.get(VARIABLE, ''))
  if not (folder or os.environ.get(VARIABLE)):
    raise InputError(
      f"the data set 'idx' needs a folder: set its `folder` in the config or the variable "
      f'{VARIABLE} to where the *-ubyte files are (Debian: apt-get install dataset-fashion-mnist)'
    )
  images = read(_find(where, f'{prefix}-images-idx3-ubyte'), rank=3)
  labels = read(_find(where, f'{prefix}-labels-idx1-ubyte'), rank=1)
  if len(images) != len(labels):
    raise InputError(
      f'{where} has {len(images)} {prefix} images but {len(labels)} labels; replace the files'
    )
  known = labels if split == 'train' else read(_find(where, TRAIN_LABELS), rank=1)
  names = [str(c) for c in range(int(known.max()) + 1)]
  bad = BadRecords(f'{where}', on_bad_record)
  for record in np.flatnonzero(labels >= len(names)):
    with bad.handled():
      raise BadRecordError(
        f'record {record} of {prefix}-labels has the label {labels[record]}, beyond those of '
        f'{TRAIN_LABELS}, which end at {names[-1]}'
      )
  good = labels < len(names)
  bad.finish(labels[good])
  return ArraySource(images[good][..., None], labels[good], names, bad.skipped)


def read(path: pathlib.Path, rank: int) -> np.ndarray:
  """Reads one IDX file of unsigned bytes as an array of that rank."""
  try:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == '.gz' else path.read_bytes()
  except (OSError, EOFError, zlib.error) as error:
    raise InputError(f'{path} cannot be read: {first_line(error)}') from error
  header = 4 + 4 * rank
  if len(raw) < header or raw[:4] != bytes([0, 0, 8, rank]):
    raise InputError(
      f'{path} is not an IDX file of unsigned bytes with {rank} axes; replace the file'
    )
  shape = struct.unpack(f'>{rank}I', raw[4:header])
  if not math.prod(shape):
    raise InputError(f'{path} is empty: its header says {shape}; replace the file')
  if len(raw) - header != math.prod(shape):
    raise InputError(
      f'{path} holds {len(raw) - header} values where its header says {shape}; replace the file'
    )
  return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _find(folder: pathlib.Path, name: str) -> pathlib.Path:
  for path in (folder / name, folder / f'{name}.gz'):
    if os.path.isfile(path):
      return path
  raise InputError(
    f'{folder} has neither {name} nor {name}.gz: set {VARIABLE} or the `folder` of its source'
  )

"""`tiny_imagenet`: the user's own copy of Tiny-ImageNet, as its zip file or the folder in it.

Layout: wnids.txt, words.txt, train/WNID/images/WNID_N.JPEG, val/images/*.JPEG and
val/val_annotations.txt. Source: Y. Le and X. Yang, "Tiny ImageNet Visual Recognition Challenge",
Stanford CS 231N (2015). Nothing is unpacked to disk.
"""

import io
import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging
from PIL import Image, UnidentifiedImageError

from datasets.images import resized
from datasets.source import ArraySource
from l2o.build import check_bounds, choose
from l2o.errors import InputError

VARIABLE = 'L2O_TINY_IMAGENET'
SIDE = 64  # pixels of an original image
MAX_BYTES = 8 << 20  # of one file; the originals have about 2 kB, words.txt 2.6 MB
MAX_RATIO = 200  # unpacked to packed size of a zip member
ON_BAD_RECORD = ('error', 'skip')


class BadRecordError(Exception):
  """A file that is not what its place says; the message names it."""


class _Files(NamedTuple):
  """A folder or zip file, from the folder that holds wnids.txt on."""

  names: Sequence[str]  # sorted
  read: Callable[[str], bytes]


def tiny_imagenet(
  split: str, path: str = '', size: int = SIDE, on_bad_record: str = 'error'
) -> ArraySource:
  """Loads one split into memory, greyscale files as colour.

  Args:
    split: 'train' or 'validation'.
    path: the zip file or the folder; if empty, the variable L2O_TINY_IMAGENET says.
    size: height and width to resize to.
    on_bad_record: 'error' names the first file that is truncated, mislabelled or no image; 'skip'
      leaves such files out and logs their number.

  Raises:
    InputError: no data, another layout, a bad file, or a zip file that is not to be trusted.
  """
  choose(split, ('train', 'validation'), 'split')
  choose(on_bad_record, ON_BAD_RECORD, 'on_bad_record')
  check_bounds({'size': size}, 'tiny_imagenet', {'size': 1})
  where = pathlib.Path(path or os.environ.get(VARIABLE, ''))
  if not (path or os.environ.get(VARIABLE)):
    raise InputError(
      f"the data set 'tiny_imagenet' needs a path: set its `path` in the config or the variable "
      f'{VARIABLE} to tiny-imagenet-200.zip or the folder in it'
    )
  files = _open(where)
  wnids = _text(files, 'wnids.txt', where).split()
  words = dict(line.partition('\t')[::2] for line in _text(files, 'words.txt', where).splitlines())
  listed = _train(files, wnids) if split == 'train' else _validation(files, wnids, where)
  images, labels, bad = [], [], []
  for name, label in listed:
    try:
      images.append(_image(files, name, label, size))
      labels.append(label)
    except BadRecordError as error:
      if on_bad_record == 'error':
        raise InputError(f"{where}: {error}; on_bad_record='skip' leaves such files out") from error
      bad.append(str(error))
  if bad:
    logging.warning('%s: %d of %d files left out; first: %s', where, len(bad), len(listed), bad[0])
  if not images:
    raise InputError(f'{where} has no {split} images')
  names = [words.get(wnid, wnid) for wnid in wnids]
  return ArraySource(np.stack(images), np.asarray(labels), names)


def _train(files: _Files, wnids: Sequence[str]) -> list[tuple[str, int]]:
  """(name, label) of every train image, by class and number; -1 for a label that is wrong."""
  label_of = {wnid: label for label, wnid in enumerate(wnids)}
  listed = []
  for name in files.names:
    if match := re.fullmatch(r'train/([^/]+)/images/([^/]+)_(\d+)\.JPEG', name):
      folder, prefix, number = match.groups()
      label = label_of.get(folder, -1) if folder == prefix else -1
      listed.append((label, int(number), name))
  return [(name, label) for label, _, name in sorted(listed)]


def _validation(files: _Files, wnids: Sequence[str], where: pathlib.Path) -> list[tuple[str, int]]:
  label_of = {wnid: label for label, wnid in enumerate(wnids)}
  annotations = {}
  for line in _text(files, 'val/val_annotations.txt', where).splitlines():
    fields = line.split('\t')
    annotations[f'val/images/{fields[0]}'] = label_of.get(fields[1], -1) if fields[1:] else -1
  there = {name for name in files.names if re.fullmatch(r'val/images/[^/]+\.JPEG', name)}
  return sorted((name, annotations.get(name, -1)) for name in there | set(annotations))


def _image(files: _Files, name: str, label: int, size: int) -> np.ndarray:
  if label < 0:
    raise BadRecordError(
      f'{name} is labelled with a class that it does not belong to or is unknown'
    )
  try:
    with Image.open(io.BytesIO(files.read(name))) as image:
      if image.format != 'JPEG' or max(image.size) > 16 * SIDE:
        raise BadRecordError(f'{name} is no JPEG of the expected size')
      return resized(np.asarray(image.convert('RGB')), size)
  except (OSError, KeyError, SyntaxError, UnidentifiedImageError, zipfile.BadZipFile) as error:
    raise BadRecordError(f'{name} is truncated or no image ({error})') from error


def _open(where: pathlib.Path) -> _Files:
  if where.is_dir():
    root = where if (where / 'wnids.txt').is_file() else where / 'tiny-imagenet-200'
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob('*') if p.is_file())
    return _Files(names, lambda name: (root / name).read_bytes())
  try:
    archive = zipfile.ZipFile(where)
  except (OSError, zipfile.BadZipFile) as error:
    raise InputError(f'{where} is neither a folder nor a readable zip file ({error})') from error
  for member in archive.infolist():
    _refuse_unsafe(member, where)
  everything = archive.namelist()
  tops = [name.removesuffix('wnids.txt') for name in everything if name.endswith('wnids.txt')]
  top = min(tops, key=len, default='')
  names = sorted(
    name.removeprefix(top) for name in everything if name.startswith(top) and name[-1] != '/'
  )
  return _Files(names, lambda name: archive.read(top + name))


def _refuse_unsafe(member: zipfile.ZipInfo, where: pathlib.Path) -> None:
  path = pathlib.PurePosixPath(member.filename.replace('\\', '/'))
  if path.is_absolute() or '..' in path.parts or ':' in member.filename:
    raise InputError(
      f'{where} is not to be trusted: its member {member.filename!r} leaves the folder'
    )
  if member.file_size > MAX_BYTES or member.file_size > MAX_RATIO * max(member.compress_size, 1):
    raise InputError(
      f'{where} is not to be trusted: its member {member.filename!r} unpacks to '
      f'{member.file_size} bytes from {member.compress_size}'
    )


def _text(files: _Files, name: str, where: pathlib.Path) -> str:
  if name not in files.names:
    raise InputError(f'{where} has no {name}: it is not laid out like tiny-imagenet-200')
  return files.read(name).decode()

"""`tiny_imagenet`: the user's own copy of Tiny-ImageNet, as the zip file or its unpacked folder.

Layout: wnids.txt, words.txt, train/WNID/images/WNID_N.JPEG, val/images/*.JPEG and
val/val_annotations.txt. Source: Y. Le and X. Yang, "Tiny ImageNet Visual Recognition Challenge",
Stanford CS 231N (2015). Nothing is unpacked to disk.
"""

import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from datasets.archive import Files, below, open_files, read_jpeg, read_text
from datasets.images import Side, check_fits, resized
from datasets.records import BadRecordError, BadRecords, OnBadRecord
from datasets.source import ArraySource
from l2o.arguments import checked
from l2o.errors import InputError
from l2o.registry import choose

VARIABLE = 'L2O_TINY_IMAGENET'
SIDE = 64  # pixels of an original image
MAX_SIDE = 16 * SIDE


@checked
def tiny_imagenet(
  split: str, path: str = '', size: Side = SIDE, on_bad_record: OnBadRecord = 'error'
) -> ArraySource:
  """Loads one split into memory, greyscale files as colour.

  Args:
    split: 'train' or 'validation'.
    path: the zip file or the folder; if empty, the variable L2O_TINY_IMAGENET names it.
    size: height and width to resize to.
    on_bad_record: 'error' names the first file that is truncated, mislabelled or not an image;
      'skip' leaves such files out and counts them.

  Raises:
    InputError: there are no data, the layout differs, a file is bad, no file of a class is good, or
      the zip file is unsafe.
  """
  choose(split, ('train', 'validation'), 'split')
  where = pathlib.Path(path or os.environ.get(VARIABLE, ''))
  if not (path or os.environ.get(VARIABLE)):
    raise InputError(
      f"the data set 'tiny_imagenet' needs a path: set its `path` in the config or the variable "
      f'{VARIABLE} to tiny-imagenet-200.zip or the folder in it'
    )
  files = _open(where)
  wnids = _text(files, 'wnids.txt', where).split()
  if twice := sorted({wnid for wnid in wnids if wnids.count(wnid) > 1}):
    raise InputError(f'{where}: wnids.txt names {twice[0]} more than once')
  words = dict(line.partition('\t')[::2] for line in _text(files, 'words.txt', where).splitlines())
  listed = _train(files, wnids) if split == 'train' else _validation(files, wnids, where)
  check_fits(3 * len(listed) * size**2, f'{where}', 'size')
  images, labels, bad = [], [], BadRecords(f'{where}', on_bad_record)
  for name, label in listed:
    with bad.handled(label):
      images.append(_image(files, name, label, size))
      labels.append(label)
  names = [words.get(wnid, wnid) for wnid in wnids]
  bad.finish(labels, names)
  if not images:
    raise InputError(f'{where} has no {split} images')
  return ArraySource(np.stack(images), np.asarray(labels), names, bad.skipped)


def _train(files: Files, wnids: Sequence[str]) -> list[tuple[str, int]]:
  """(name, label) of every train image, by class and number; -1 for a label that is wrong."""
  label_of = {wnid: label for label, wnid in enumerate(wnids)}
  listed = []
  for name in files.names:
    if match := re.fullmatch(r'train/([^/]+)/images/([^/]+)_(\d+)\.JPEG', name):
      folder, prefix, number = match.groups()
      label = label_of.get(folder, -1) if folder == prefix else -1
      listed.append((label, int(number), name))
  return [(name, label) for label, _, name in sorted(listed)]


def _validation(files: Files, wnids: Sequence[str], where: pathlib.Path) -> list[tuple[str, int]]:
  label_of = {wnid: label for label, wnid in enumerate(wnids)}
  annotations = {}
  for line in _text(files, 'val/val_annotations.txt', where).splitlines():
    fields = line.split('\t')
    annotations[f'val/images/{fields[0]}'] = label_of.get(fields[1], -1) if fields[1:] else -1
  there = {name for name in files.names if re.fullmatch(r'val/images/[^/]+\.JPEG', name)}
  return sorted((name, annotations.get(name, -1)) for name in there | set(annotations))


def _image(files: Files, name: str, label: int, size: int) -> np.ndarray:
  if label < 0:
    raise BadRecordError(
      f'{name} is labelled with a class that is unknown or that it does not belong to'
    )
  return resized(read_jpeg(files, name, MAX_SIDE), size)


def _open(where: pathlib.Path) -> Files:
  inside = where / 'tiny-imagenet-200'
  return below(open_files(inside if os.path.isdir(inside) else where), 'wnids.txt')


def _text(files: Files, name: str, where: pathlib.Path) -> str:
  if name not in files.names:
    raise InputError(f'{where} has no {name}: it is not laid out like tiny-imagenet-200')
  return read_text(files, name, where)

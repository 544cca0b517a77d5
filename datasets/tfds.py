"""`tfds`: any labelled image data set of tensorflow-datasets, by name.

Read by random access from ArrayRecord files, without TensorFlow, from TFDS_DATA_DIR or the default
folder. Nothing is downloaded unless the config says so: the folder may be shared. Preparing a
download needs TensorFlow.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from datasets.images import SideOrNone, check_fits, resized
from datasets.records import BadRecordError, BadRecords, OnBadRecord
from datasets.source import ArraySource, Example, Source
from l2o.arguments import checked
from l2o.errors import InputError, first_line
from l2o.optional import require
from l2o.registry import choose

VARIABLE = 'TFDS_DATA_DIR'
CHUNK = 1_000  # examples decoded at a time
Use = Callable[[bytes, int], Any]  # an image as its file holds it, the number of its record
REMEDY = 'remove its files and prepare it again'


@checked
def tfds(
  split: str,
  dataset: str,
  image: str = 'image',
  label: str = 'label',
  train_split: str = 'train',
  validation_split: str = 'test',
  size: SideOrNone = 0,
  in_memory: bool = True,
  download: bool = False,
  on_bad_record: OnBadRecord = 'error',
) -> Source:
  """One split of a data set, in memory or read image by image on demand.

  Args:
    split: 'train' or 'validation'.
    dataset: its name, with a configuration or version if needed: 'cifar100', 'mnist:3.0.1'.
    image: key of the image feature.
    label: key of the label feature.
    train_split: the data set's name for its train split.
    validation_split: its name for the validation split; slices such as 'train[:10%]' work too.
    size: height and width to resize to; 0 leaves the images as they are.
    in_memory: whether to decode all images now. If not, only labels are decoded, which still reads
      every record once, and the config must set `feed.chunk_steps`; without a `size`, the
      transforms of `feed` give the images one.
    download: whether tensorflow-datasets may fetch and prepare what is missing, for which it needs
      TensorFlow.
    on_bad_record: 'error' names the first record that cannot be read or whose label is none of the
      classes; 'skip' leaves such records out and counts them, and decodes every image to find them.

  Raises:
    InputError: the data set does not exist or cannot be downloaded or read, it lacks the split or
      feature, a record is bad, no record of a class is good, or there is no `size` and images
      differ in size or are not decoded yet.
  """
  splits = {'train': train_split, 'validation': validation_split}
  part = splits[choose(split, splits, 'split')]
  builder = _prepared(dataset, download)
  names = _class_names(builder.info.features, image, label, dataset)
  try:
    examples = _packed(builder, part, image)
  except (ValueError, KeyError, NotImplementedError) as error:
    listed = ', '.join(builder.info.splits)
    raise InputError(
      f'{dataset} has no split {part!r} that can be read ({first_line(error)}); it has {listed}'
    ) from error
  bad = BadRecords(f'{dataset}, {part}', on_bad_record, REMEDY)
  kind = _read if in_memory else RecordSource
  with _reading(bad.where):
    return kind(examples, builder.info.features[image], (image, label), names, size, bad)


def _class_names(features: Any, image: str, label: str, dataset: str) -> Sequence[str]:
  """The classes of the label feature; InputError if the features are not an image and a label."""
  from tensorflow_datasets.core.features import ClassLabel, Image

  for key, kind, what in ((image, Image, 'image of 8 bits'), (label, ClassLabel, 'class label')):
    feature = features[choose(key, features, f'feature of {dataset}')]
    if not isinstance(feature, kind) or (kind is Image and feature.np_dtype != np.uint8):
      raise InputError(f'{dataset}: the feature {key!r} is not a{"n" * (kind is Image)} {what}')
  return features[label].names


def _outside(record: int, label: int, names: Sequence[str]) -> str:
  return (
    f'record {record} has the label {label}, outside 0..{len(names) - 1} (an unlabelled split has '
    f'-1 throughout)'
  )


@contextlib.contextmanager
def _reading(dataset: str) -> Iterator[None]:
  """Names the data set whose files are missing or damaged; each reader raises its own errors."""
  try:
    yield
  except Exception as error:
    raise InputError(f'{dataset} cannot be read ({first_line(error)}); {REMEDY}') from error


class RecordSource:
  """A data set read record by record.

  Args:
    examples: its examples, with their images as they are in the files.
    feature: the image feature.
    keys: keys of the image and the label feature.
    class_names: names of the labels.
    size: height and width to resize to; 0 leaves the images as they are, and `image_shape` None.
    bad: what becomes of bad records: if they are left out, every image is decoded once to find
      them, otherwise one that cannot be decoded is an error when it is looked up.
  """

  def __init__(
    self,
    examples: Any,
    feature: Any,
    keys: tuple[str, str],
    class_names: Sequence[str],
    size: int,
    bad: BadRecords,
  ):
    self._examples, self._feature, self._image = examples, feature, keys[0]
    self._size, self._where = size, bad.where
    self.class_names = tuple(class_names)
    use = partial(_decoded, feature) if bad.skips else lambda packed, record: None
    good = [(record, label) for record, label, _ in _good(examples, keys, class_names, bad, use)]
    self._records, self._labels = np.array(good, np.int32).reshape(-1, 2).T
    bad.finish(self._labels.tolist(), class_names)
    self.skipped = bad.skipped
    self.image_shape = self[0].image.shape if size else None

  def __len__(self) -> int:
    return len(self._labels)

  def __getitem__(self, index: int) -> Example:
    record = int(self._records[index])
    with _reading(self._where):
      packed = self._examples[record][self._image]
    try:
      image = _decoded(self._feature, packed, record)
    except BadRecordError as error:
      raise InputError(f'{self._where}: {error}; {REMEDY}') from error
    return Example(resized(image, self._size), int(self._labels[index]))

  @functools.cached_property
  def class_index(self) -> list[np.ndarray]:
    return [np.flatnonzero(self._labels == c) for c in range(len(self.class_names))]

  def arrays(self) -> dict[str, np.ndarray]:
    """Always raises: this class is for data sets that do not fit in memory."""
    raise InputError('a data set with in_memory = False is fed by the host: set feed.chunk_steps')


def _prepared(dataset: str, download: bool) -> Any:
  import tensorflow_datasets  # takes a second, so imported only when needed

  folder = os.environ.get(VARIABLE)  # tensorflow-datasets itself reads it once, at import
  where = folder or '~/tensorflow_datasets'
  written = {'file_format': 'array_record'} if download else {}  # for data not prepared yet
  try:
    builder = tensorflow_datasets.builder(dataset, data_dir=folder, **written)
  except Exception as error:
    raise InputError(
      f'tensorflow-datasets has no data set {dataset!r}, here or in {where}: {first_line(error)}'
    ) from error
  if builder.is_prepared():
    return builder
  if not download:
    raise InputError(
      f'{dataset} is not prepared in {where}: set {VARIABLE} to where it is, or download = True in '
      f'its block of `sources` to fetch it'
    )
  require('tensorflow', 'tensorflow', f'download of {dataset}')
  try:
    builder.download_and_prepare()
  except Exception as error:
    raise InputError(f'{dataset} cannot be downloaded to {where}: {first_line(error)}') from error
  return builder


def _read(
  examples: Any,
  feature: Any,
  keys: tuple[str, str],
  names: Sequence[str],
  size: int,
  bad: BadRecords,
) -> ArraySource:
  check_fits(len(examples) * size**2, bad.where, 'size, or in_memory = False')
  images, labels = [], []
  for _, number, pixels in _good(examples, keys, names, bad, partial(_decoded, feature)):
    images.append(resized(pixels, size))
    labels.append(number)
  bad.finish(labels, names)
  shapes = {pixels.shape for pixels in images}
  if len(shapes) > 1:
    raise InputError(f'{bad.where} has images of {len(shapes)} sizes; set its `size` in the config')
  return ArraySource(np.stack(images), np.asarray(labels), names, bad.skipped)


def _packed(builder: Any, split: str, image: str) -> Any:
  """The examples of a split, with their images as they are in the files."""
  import tensorflow_datasets

  return builder.as_data_source(
    split=split, decoders={image: tensorflow_datasets.decode.SkipDecoding()}
  )


def _decoded(feature: Any, packed: bytes, record: int) -> np.ndarray:
  """The image [H, W, C] of a record; BadRecordError if it does not fit the feature."""
  try:
    pixels = feature.decode_example_np(packed)
  except Exception as error:  # each format has its own
    raise BadRecordError(
      f'the image of record {record} is truncated or not an image ({first_line(error)})'
    ) from error
  wanted = feature.shape
  if pixels.ndim != 3 or any(n not in (None, m) for n, m in zip(wanted, pixels.shape, strict=True)):
    raise BadRecordError(f'the image of record {record} is {pixels.shape}, not {wanted}')
  return pixels


def _good(
  examples: Any, keys: tuple[str, str], names: Sequence[str], bad: BadRecords, use: Use
) -> Iterator[tuple[int, int, Any]]:
  """(number, label, what `use` makes of the image) of every record that is not bad."""
  image, label = keys
  for record, example in enumerate(_each(examples)):
    if not isinstance(example, Exception) and example[label] is None:
      example = EOFError('it is empty')
    number = -1 if isinstance(example, Exception) else int(example[label])
    known, found = 0 <= number < len(names), None
    with bad.handled(number if known else -1):
      if isinstance(example, Exception):
        raise BadRecordError(f'record {record} cannot be read ({first_line(example)})')
      if not known:
        raise BadRecordError(_outside(record, number, names))
      found = record, number, use(example[image], record)
    if found:
      yield found


def _each(examples: Any) -> Iterator[Any]:
  """Every example or, in place of one that cannot be read, its error."""

  def alone(row: int) -> Any:
    try:
      return examples[row]
    except Exception as error:
      return error

  for start in range(0, len(examples), CHUNK):
    rows = range(start, min(start + CHUNK, len(examples)))
    try:
      found = examples.__getitems__(rows)
    except Exception:  # it does not say which of them failed
      found = map(alone, rows)
    yield from found

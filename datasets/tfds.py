"""`tfds`: any labelled image data set of tensorflow-datasets, by name.

Read by random access from ArrayRecord files, without TensorFlow, from TFDS_DATA_DIR or the default
folder. Nothing is downloaded unless the config says so: the folder may be shared. Preparing a
download needs TensorFlow.
"""

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from datasets.images import SideOrNone, check_fits, resized
from datasets.source import ArraySource, Example, Source
from l2o.arguments import checked
from l2o.errors import InputError, first_line
from l2o.optional import require
from l2o.registry import choose

VARIABLE = 'TFDS_DATA_DIR'
CHUNK = 1_000  # examples decoded at a time


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

  Raises:
    InputError: the data set does not exist or cannot be downloaded or read, it lacks the split or
      feature, labels are outside its classes, or there is no `size` and images differ in size or
      are not decoded yet.
  """
  splits = {'train': train_split, 'validation': validation_split}
  part = splits[choose(split, splits, 'split')]
  builder = _prepared(dataset, download)
  names = _class_names(builder.info.features, image, label, dataset)
  try:
    examples = builder.as_data_source(split=part)
  except (ValueError, KeyError) as error:
    listed = ', '.join(builder.info.splits)
    raise InputError(f'{dataset} has no split {part!r}; it has {listed}') from error
  if in_memory:
    images, labels = _read(examples, image, label, size, dataset)
    _check_labels(labels, names, f'{dataset}, {part}')
    return ArraySource(images, labels, names)
  return RecordSource(builder, part, (image, label), size)


def _class_names(features: Any, image: str, label: str, dataset: str) -> Sequence[str]:
  """The classes of the label feature; InputError if the features are not an image and a label."""
  from tensorflow_datasets.core.features import ClassLabel, Image

  for key, kind, what in ((image, Image, 'image of 8 bits'), (label, ClassLabel, 'class label')):
    feature = features[choose(key, features, f'feature of {dataset}')]
    if not isinstance(feature, kind) or (kind is Image and feature.np_dtype != np.uint8):
      raise InputError(f'{dataset}: the feature {key!r} is not a{"n" * (kind is Image)} {what}')
  return features[label].names


def _check_labels(labels: np.ndarray, names: Sequence[str], where: str) -> None:
  if labels.min() < 0 or labels.max() >= len(names):
    raise InputError(
      f'{where}: labels must lie in 0..{len(names) - 1}, not {labels.min()}..{labels.max()}; take '
      f'a split that is labelled'
    )


@contextlib.contextmanager
def _reading(dataset: str) -> Iterator[None]:
  """Names the data set whose files are missing or damaged; each reader raises its own errors."""
  try:
    yield
  except Exception as error:
    raise InputError(
      f'{dataset} cannot be read ({first_line(error)}); remove its files and prepare it again'
    ) from error


class RecordSource:
  """A data set read record by record.

  Args:
    builder: a prepared tensorflow-datasets builder.
    split: name of the split.
    keys: keys of the image and the label feature.
    size: height and width to resize to; 0 leaves the images as they are, and `image_shape` None.
  """

  def __init__(self, builder: Any, split: str, keys: tuple[str, str], size: int):
    import tensorflow_datasets

    self._image, self._label = keys
    self._size, self._name = size, builder.info.full_name
    self.class_names = tuple(builder.info.features[self._label].names)
    packed = {self._image: tensorflow_datasets.decode.SkipDecoding()}
    with _reading(self._name):
      self._examples = builder.as_data_source(split=split)
      labels = _in_chunks(builder.as_data_source(split=split, decoders=packed))
      self._labels = np.array([example[self._label] for example in labels], np.int32)
    _check_labels(self._labels, self.class_names, f'{self._name}, {split}')
    self.image_shape = self[0].image.shape if size else None

  def __len__(self) -> int:
    return len(self._labels)

  def __getitem__(self, index: int) -> Example:
    with _reading(self._name):
      image = resized(self._examples[index][self._image], self._size)
    return Example(image, int(self._labels[index]))

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


def _read(examples: Any, image: str, label: str, size: int, dataset: str) -> tuple:
  check_fits(len(examples) * size**2, dataset, 'size, or in_memory = False')
  images, labels = [], []
  with _reading(dataset):
    for example in _in_chunks(examples):
      images.append(resized(example[image], size))
      labels.append(int(example[label]))
  shapes = {pixels.shape for pixels in images}
  if len(shapes) > 1:
    raise InputError(f'{dataset} has images of {len(shapes)} sizes; set its `size` in the config')
  return np.stack(images), np.asarray(labels)


def _in_chunks(examples: Any) -> Iterator[Any]:
  for start in range(0, len(examples), CHUNK):
    yield from examples.__getitems__(range(start, min(start + CHUNK, len(examples))))

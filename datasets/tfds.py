"""`tfds`: any labelled image data set of tensorflow-datasets, by name.

Read by random access from ArrayRecord files, without TensorFlow, from TFDS_DATA_DIR or the usual
place. Nothing is downloaded unless the config says so: the folder may be shared.
"""

import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from datasets.images import resized
from datasets.source import ArraySource, Example, Source
from l2o.build import choose
from l2o.errors import InputError

VARIABLE = 'TFDS_DATA_DIR'
CHUNK = 1_000  # examples decoded at a time


def tfds(
  split: str,
  dataset: str,
  image: str = 'image',
  label: str = 'label',
  train_split: str = 'train',
  validation_split: str = 'test',
  size: int = 0,
  in_memory: bool = True,
  download: bool = False,
) -> Source:
  """One split of a data set, in memory or read image by image as it is asked for.

  Args:
    split: 'train' or 'validation'.
    dataset: its name, with a configuration or version if need be: 'cifar100', 'mnist:3.0.1'.
    image: key of the image feature.
    label: key of the label feature.
    train_split: what the data set calls its train split.
    validation_split: what it calls the split to validate on; 'train[:10%]' is a split too.
    size: height and width to resize to; 0 leaves the images as they are.
    in_memory: whether all images are decoded now. If not, only labels are, which still reads every
      record once, and the config must set `feed.chunk_steps`.
    download: whether tensorflow-datasets may fetch and prepare what is not there yet.

  Raises:
    InputError: a data set that does not exist or cannot be downloaded, a split or feature it does
      not have, or no size asked for where images have several or are not looked at yet.
  """
  splits = {'train': train_split, 'validation': validation_split}
  name = splits[choose(split, splits, 'split')]
  builder = _prepared(dataset, download)
  features = builder.info.features
  for key in (image, label):
    choose(key, features, f'feature of {dataset}')
  if not hasattr(features[label], 'names'):
    raise InputError(f'{dataset}: the feature {label!r} is not a class label')
  try:
    examples = builder.as_data_source(split=name)
  except (ValueError, KeyError) as error:
    listed = ', '.join(builder.info.splits)
    raise InputError(f'{dataset} has no split {name!r}; it has {listed}') from error
  if in_memory:
    images, labels = _read(examples, image, label, size, dataset)
    return ArraySource(images, labels, features[label].names)
  if not size:
    raise InputError(f'{dataset} with in_memory = False needs a `size` in the config')
  return RecordSource(builder, name, (image, label), size)


class RecordSource:
  """A data set read record by record.

  Args:
    builder: of tensorflow-datasets, prepared.
    split: its name.
    keys: of the image and the label feature.
    size: height and width to resize to.
  """

  def __init__(self, builder: Any, split: str, keys: tuple[str, str], size: int):
    import tensorflow_datasets

    self._image, self._label = keys
    self._size = size
    self._examples = builder.as_data_source(split=split)
    packed = {self._image: tensorflow_datasets.decode.SkipDecoding()}
    labels = _in_chunks(builder.as_data_source(split=split, decoders=packed))
    self._labels = np.array([example[self._label] for example in labels], np.int32)
    self.class_names = tuple(builder.info.features[self._label].names)
    self.image_shape = self[0].image.shape

  def __len__(self) -> int:
    return len(self._labels)

  def __getitem__(self, index: int) -> Example:
    image = resized(self._examples[index][self._image], self._size)
    return Example(image, int(self._labels[index]))

  @functools.cached_property
  def class_index(self) -> list[np.ndarray]:
    return [np.flatnonzero(self._labels == c) for c in range(len(self.class_names))]

  def arrays(self) -> dict[str, np.ndarray]:
    """Refused: this class is for data sets that do not fit."""
    raise InputError('a data set with in_memory = False is fed by the host: set feed.chunk_steps')


def _prepared(dataset: str, download: bool) -> Any:
  import tensorflow_datasets  # a second, only for who asks

  folder = os.environ.get(VARIABLE)  # tensorflow-datasets itself reads it once, at import
  where = folder or '~/tensorflow_datasets'
  written = {'file_format': 'array_record'} if download else {}  # it applies to what is not there
  try:
    builder = tensorflow_datasets.builder(dataset, data_dir=folder, **written)
  except Exception as error:
    raise InputError(
      f'tensorflow-datasets has no data set {dataset!r}, here or in {where}: {_first(error)}'
    ) from error
  if builder.is_prepared():
    return builder
  if not download:
    raise InputError(
      f'{dataset} is not prepared in {where}: set {VARIABLE} to where it is, or download = True in '
      f'its block of `sources` to fetch it'
    )
  try:
    builder.download_and_prepare()
  except Exception as error:
    raise InputError(f'{dataset} cannot be downloaded to {where}: {_first(error)}') from error
  return builder


def _read(examples: Any, image: str, label: str, size: int, dataset: str) -> tuple:
  images, labels = [], []
  for example in _in_chunks(examples):
    images.append(resized(example[image], size))
    labels.append(example[label])
  shapes = {pixels.shape for pixels in images}
  if len(shapes) > 1:
    raise InputError(f'{dataset} has images of {len(shapes)} sizes; set its `size` in the config')
  return np.stack(images), np.asarray(labels)


def _in_chunks(examples: Any) -> Iterator[Any]:
  for start in range(0, len(examples), CHUNK):
    yield from examples.__getitems__(range(start, min(start + CHUNK, len(examples))))


def _first(error: Exception) -> str:
  return str(error).strip().split('\n')[0][:200] or type(error).__name__

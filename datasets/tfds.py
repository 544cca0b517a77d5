"""`tfds`: any labelled image data set of tensorflow-datasets, by name.

Read by random access from ArrayRecord files, without TensorFlow, from TFDS_DATA_DIR or the usual
place. Nothing is downloaded unless the config says so: the folder may be shared.
"""

import os
from typing import Any

import numpy as np

from datasets.images import resized
from datasets.source import ArraySource
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
  download: bool = False,
) -> ArraySource:
  """Loads one split of a data set into memory.

  Args:
    split: 'train' or 'validation'.
    dataset: its name, with a configuration or version if need be: 'cifar100', 'mnist:3.0.1'.
    image: key of the image feature.
    label: key of the label feature.
    train_split: what the data set calls its train split.
    validation_split: what it calls the split to validate on; 'train[:10%]' is a split too.
    size: height and width to resize to; 0 leaves the images as they are.
    download: whether tensorflow-datasets may fetch and prepare what is not there yet.

  Raises:
    InputError: a data set that does not exist or cannot be downloaded, a split or feature it does
      not have, or images of several sizes when no size is asked for.
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
  images, labels = _read(examples, image, label, size, dataset)
  return ArraySource(images, labels, features[label].names)


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
  for start in range(0, len(examples), CHUNK):
    for example in examples.__getitems__(range(start, min(start + CHUNK, len(examples)))):
      images.append(resized(example[image], size))
      labels.append(example[label])
  shapes = {pixels.shape for pixels in images}
  if len(shapes) > 1:
    raise InputError(f'{dataset} has images of {len(shapes)} sizes; set its `size` in the config')
  return np.stack(images), np.asarray(labels)


def _first(error: Exception) -> str:
  return str(error).strip().split('\n')[0][:200] or type(error).__name__

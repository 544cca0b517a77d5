"""`tfds`: any labelled image data set of tensorflow-datasets, by name.

Read by random access from ArrayRecord files, without TensorFlow. A data set that is not prepared
yet is downloaded and prepared by tensorflow-datasets, into TFDS_DATA_DIR if that is set.
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

  Raises:
    InputError: a data set that does not exist or cannot be downloaded, a split or feature it does
      not have, or images of several sizes when no size is asked for.
  """
  chosen = choose(split, {'train': train_split, 'validation': validation_split}, 'split')
  builder = _prepared(dataset)
  features = builder.info.features
  for key in (image, label):
    choose(key, features, f'feature of {dataset}')
  if not hasattr(features[label], 'names'):
    raise InputError(f'{dataset}: the feature {label!r} is not a class label')
  name = {'train': train_split, 'validation': validation_split}[chosen]
  try:
    examples = builder.as_data_source(split=name)
  except (ValueError, KeyError) as error:
    listed = ', '.join(builder.info.splits)
    raise InputError(f'{dataset} has no split {name!r}; it has {listed}') from error
  images, labels = _read(examples, image, label, size, dataset)
  return ArraySource(images, labels, features[label].names)


def _prepared(dataset: str) -> Any:
  import tensorflow_datasets  # a second, only for who asks

  where = os.environ.get(VARIABLE, '~/tensorflow_datasets')
  try:
    builder = tensorflow_datasets.builder(dataset, file_format='array_record')
  except Exception as error:
    raise InputError(
      f'tensorflow-datasets has no data set {dataset!r}, here or in {where}: {_first(error)}'
    ) from error
  try:
    builder.download_and_prepare()  # returns at once if that is done
  except Exception as error:
    raise InputError(
      f'{dataset} is not prepared in {where} and cannot be downloaded ({_first(error)}); set '
      f'{VARIABLE} to where it is, or prepare it on a machine with internet access by '
      f'`tfds build {dataset} --file_format=array_record`'
    ) from error
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

"""Pictures and volumes for a network to represent: coordinates in, values out.

Values and coordinates lie in [-1, 1]. A batch is drawn with replacement; the evaluation is the
whole grid, in order.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from sklearn.datasets import load_sample_image

from datasets.batch_sources import Arrays, BatchSource
from l2o.arguments import Count, Range, Whole, checked
from l2o.errors import InputError, first_line
from l2o.optional import require
from l2o.registry import choose

PHOTOGRAPHS = ('china.jpg', 'flower.jpg')
PEAK = 2.0  # the width of the values' range
CHUNK = 1 << 20  # bytes


Crop = Annotated[int, Range(at_least=2)]


@checked
def volume(seed: Whole, path: str = '', crop: Crop = 64, batch_size: Count = 4_096) -> BatchSource:
  """The middle of a volume: {'coordinates' [B, 3], 'target' [B, 1]}, scaled to its own range.

  Args:
    seed: seed of the batches.
    path: a file that nibabel reads, such as brain.nii.gz; if empty, nilearn's MNI152 T1 template,
      a brain at 1 mm.
    crop: side of the crop, in voxels.
    batch_size: B.

  Raises:
    InputError: the extra 'volumes' is not installed, the file is damaged or not a finite volume,
      the volume is constant or smaller than the crop, or a number is below 1.
  """
  values = _template() if not path else _read(path)
  if values.ndim != 3:
    raise InputError(f'batch_source.path: {path} must be a volume [X, Y, Z], not {values.shape}')
  if len(bad := np.argwhere(~np.isfinite(values))):
    first = tuple(bad[0].tolist())
    raise InputError(
      f'batch_source.path: {path} must be finite, but {len(bad)} of its voxels are not, the first '
      f'at {first}: {values[first]}; replace the file or fill them'
    )
  middle = _middle(values, crop, 3)
  low, high = middle.min(), middle.max()
  if not high > low:
    raise InputError(
      f'batch_source: the middle {crop} x {crop} x {crop} voxels are all {low:g}; use another file '
      f'or a larger crop'
    )
  return _field(seed, PEAK * (middle - low) / (high - low) - 1.0, middle.shape, batch_size)


@checked
def photograph(
  seed: Whole, picture: str = 'china.jpg', crop: Crop = 256, batch_size: Count = 4_096
) -> BatchSource:
  """The middle of a scikit-learn sample photograph: {'coordinates' [B, 2], 'target' [B, 3]}.

  Args:
    seed: seed of the batches.
    picture: 'china.jpg' or 'flower.jpg', both 427 x 640.
    crop: height and width, in pixels.
    batch_size: B.

  Raises:
    InputError: there is no such photograph, it is smaller than the crop, or a number is below 1.

  Example:
    >>> batch_source = photograph(seed=0, crop=32, batch_size=5)
    >>> batch_source.sample(0)['target'].shape, batch_source.grid
    ((5, 3), (32, 32))
  """
  pixels = _middle(load_sample_image(choose(picture, PHOTOGRAPHS, 'photograph')), crop, 2)
  return _field(seed, pixels / 127.5 - 1.0, pixels.shape[:2], batch_size)


def _template() -> np.ndarray:
  templates = require('nilearn.datasets', extra='volumes', what='batch_source')
  return np.asarray(templates.load_mni152_template(resolution=1).get_fdata())


def _read(path: str) -> np.ndarray:
  nibabel = require('nibabel', extra='volumes', what='batch_source')
  try:
    image = nibabel.load(path)
    _read_to_the_end(image)
    if np.iscomplexobj(np.asanyarray(image.dataobj)):
      raise ValueError('its values are complex')
    return np.asarray(image.get_fdata())
  except Exception as error:  # nibabel raises almost anything for damaged files
    reason = first_line(error)
    raise InputError(
      f'batch_source.path: {path} cannot be read as a volume ({reason}); replace the file'
    ) from error


def _read_to_the_end(image: Any) -> None:
  """Reads every byte: a compressed file's checksum comes after the last one that voxels need."""
  for holder in image.file_map.values():
    with holder.get_prepare_fileobj('rb') as file:
      while file.read(CHUNK):
        pass


def _middle(values: np.ndarray, crop: int, num_axes: int) -> np.ndarray:
  """The centre crop along the first axes."""
  spatial = values.shape[:num_axes]
  if crop > min(spatial):
    raise InputError(f'batch_source.crop must be at most {min(spatial)}, not {crop}')
  starts = [(size - crop) // 2 for size in spatial]
  return values[tuple(slice(start, start + crop) for start in starts)]


def _field(seed: int, values: np.ndarray, grid: Sequence[int], batch_size: int) -> BatchSource:
  axes = np.meshgrid(*(np.linspace(-1.0, 1.0, size) for size in grid), indexing='ij')
  coordinates = np.stack(axes, axis=-1).reshape(math.prod(grid), -1).astype(np.float32)
  target = values.reshape(len(coordinates), -1).astype(np.float32)

  def sample(number: int) -> Arrays:
    rows = np.random.default_rng((seed, number)).integers(len(target), size=batch_size)
    return {'coordinates': coordinates[rows], 'target': target[rows]}

  whole = {'coordinates': coordinates, 'target': target}
  return BatchSource(sample, whole, sample(0), grid=tuple(grid))

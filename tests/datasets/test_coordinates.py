"""Pictures and volumes: values at their coordinates, the middle, the range, and what is refused."""

import pathlib

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from datasets import batch_sources
from l2o.errors import InputError

PHOTOGRAPH = {'name': 'photograph', 'picture': 'flower.jpg', 'crop': 65}


def test_a_photograph_has_its_pixels_at_their_coordinates():
  batch_source = batch_sources.load(PHOTOGRAPH, seed=0)
  pixels = load_sample_image('flower.jpg')[181 : 181 + 65, 287 : 287 + 65]
  whole = batch_source.evaluation
  np.testing.assert_allclose(whole['target'].reshape(65, 65, 3), pixels / 127.5 - 1.0, atol=1e-6)
  coordinates = whole['coordinates'].reshape(65, 65, 2)
  np.testing.assert_allclose(coordinates[:, 7, 0], np.linspace(-1, 1, 65), atol=1e-6)
  np.testing.assert_allclose(coordinates[7, :, 1], np.linspace(-1, 1, 65), atol=1e-6)
  assert batch_source.grid == (65, 65)


def test_batches_are_entries_of_the_whole():
  batch_source = batch_sources.load(PHOTOGRAPH | {'batch_size': 500}, seed=2)
  whole = {tuple(c): t for c, t in zip(*batch_source.evaluation.values(), strict=True)}
  batch = batch_source.sample(4)
  for coordinates, target in zip(*batch.values(), strict=True):
    np.testing.assert_array_equal(whole[tuple(coordinates)], target)
  np.testing.assert_array_equal(batch_source.sample(4)['target'], batch['target'])
  assert np.any(batch_source.sample(5)['target'] != batch['target'])
  assert len(np.unique(batch['coordinates'], axis=0)) > 400  # all over the picture
  other = batch_sources.load(PHOTOGRAPH | {'batch_size': 500}, seed=3)
  assert np.any(other.sample(4)['target'] != batch['target'])


def saved(tmp_path, values):
  nibabel = pytest.importorskip('nibabel', reason='the extra volumes is not installed')
  path = tmp_path / 'mine.nii.gz'
  nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
  return {'name': 'volume', 'path': str(path), 'crop': 3, 'batch_size': 2}


def test_a_volume_is_its_middle_over_its_range(tmp_path):
  values = np.arange(5 * 7 * 4, dtype=np.float32).reshape(5, 7, 4) ** 2
  batch_source = batch_sources.load(saved(tmp_path, values), seed=0)
  middle = values[1:4, 2:5, 0:3]
  low, high = middle.min(), middle.max()
  wanted = 2 * (middle - low) / (high - low) - 1
  np.testing.assert_allclose(batch_source.evaluation['target'].reshape(3, 3, 3), wanted, atol=1e-6)
  np.testing.assert_array_equal(batch_source.evaluation['coordinates'][5], [-1, 0, 1])
  assert batch_source.grid == (3, 3, 3)


def test_the_template_is_a_brain():
  pytest.importorskip('nilearn', reason='the extra volumes is not installed')
  batch_source = batch_sources.load({'name': 'volume', 'crop': 8}, seed=0)
  assert (batch_source.evaluation['target'].min(), batch_source.evaluation['target'].max()) == (
    -1,
    1,
  )


def one_nan():
  values = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
  values[1, 3, 2] = np.nan
  return values


@pytest.mark.parametrize(
  ('values', 'says'),
  [
    (np.zeros((4, 4, 4), np.float32), 'voxels are all 0; use another file'),
    (one_nan(), r'mine.nii.gz must be finite, but 1 of its voxels .* at \(1, 3, 2\): nan'),
    (np.ones((4, 4, 4, 2), np.float32), r'must be a volume \[X, Y, Z\]'),
    (np.ones((4, 4, 4), np.complex64), 'its values are complex'),
    (np.ones((2, 4, 4), np.float32), 'batch_source.crop must be at most 2, not 3'),
  ],
)
def test_what_is_no_volume_is_refused(tmp_path, values, says):
  with pytest.raises(InputError, match=says):
    batch_sources.load(saved(tmp_path, values), seed=0)


def test_a_file_that_is_no_volume_is_named(tmp_path):
  spec = saved(tmp_path, np.random.default_rng(0).normal(size=(9, 9, 9)))
  content = pathlib.Path(spec['path']).read_bytes()
  cut = content[: len(content) // 2]
  files = {'x.nii.gz': b'hello', 'x.txt': b'hello', 'cut.nii.gz': cut, 'none.nii': None}
  for name, written in files.items():
    if written is not None:
      (tmp_path / name).write_bytes(written)
    with pytest.raises(InputError, match=f'{name} cannot be read as a volume'):
      batch_sources.load({'name': 'volume', 'path': str(tmp_path / name)}, seed=0)


def test_a_flipped_byte_in_the_checksum_or_the_length_of_a_compressed_volume_is_noticed(tmp_path):
  """All voxels can be read without the last eight bytes."""
  spec = saved(tmp_path, np.random.default_rng(1).normal(size=(5, 6, 7)))
  path = pathlib.Path(spec['path'])
  content = path.read_bytes()
  assert batch_sources.load(spec, seed=0).skipped == 0
  for place in range(1, 9):
    damaged = bytearray(content)
    damaged[-place] ^= 0x10
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r'mine\.nii\.gz cannot be read as a volume .*replace'):
      batch_sources.load(spec, seed=0)


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'picture': 'cat.jpg'}, "no photograph 'cat.jpg'"),
    ({'crop': 428}, 'batch_source.crop must be at most 427'),
    ({'crop': 1}, 'crop must be .*at least 2'),
    ({'batch_size': 0}, 'batch_size must be .*at least 1'),
  ],
)
def test_what_is_no_photograph_is_refused(changes, says):
  with pytest.raises(InputError, match=says):
    batch_sources.load(PHOTOGRAPH | changes, seed=0)

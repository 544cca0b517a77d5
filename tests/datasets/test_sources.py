"""Every data source behind the one interface."""

import gzip
import struct

import numpy as np
import pytest

import datasets
from datasets.glyphs import CHARACTERS, TRAIN_FONTS, VALIDATION_FONTS, glyphs
from datasets.source import ArraySource
from l2o.errors import InputError


def test_glyphs_are_22_fonts_of_which_training_never_sees_five():
  assert len(TRAIN_FONTS) + len(VALIDATION_FONTS) == 22
  assert not set(TRAIN_FONTS) & set(VALIDATION_FONTS)
  assert len(CHARACTERS) == 62
  train, validation = (glyphs(split, per_font=1) for split in datasets.SPLITS)
  assert len(train) == 62 * 17
  assert len(validation) == 62 * 5 * 2


def test_glyphs_come_from_their_seed():
  a, b, c = (glyphs('train', seed=s, per_font=1).arrays()['image'] for s in (1, 1, 2))
  np.testing.assert_array_equal(a, b)
  assert np.mean(a != c) > 0.5


def test_glyphs_show_what_their_label_says():
  """The mean of a class over the training fonts is nearest to it among other fonts' means too."""
  train, validation = (glyphs(split, per_font=4) for split in datasets.SPLITS)
  means = [
    np.stack([s.arrays()['image'][rows].mean(axis=0).ravel() for rows in s.class_index])
    for s in (train, validation)
  ]
  distance = np.linalg.norm(means[0][:, None] - means[1][None], axis=-1)
  right = distance.argmin(axis=0) == np.arange(62)
  assert right.mean() > 0.6  # c and C, 0 and O, … look alike; chance is 1 in 62


def test_glyphs_are_centred_and_not_cut_off():
  images = glyphs('train', per_font=2).arrays()['image'].astype(float)[..., 0]
  ink = np.clip(images - 100, 0, None)
  border = np.concatenate([ink[:, 0], ink[:, -1], ink[:, :, 0], ink[:, :, -1]], axis=1)
  assert np.mean(border > 80) < 0.01
  rows = (ink.sum(axis=2) * np.arange(28)).sum(axis=1) / ink.sum(axis=(1, 2))
  assert abs(rows.mean() - 13.5) < 1.0


def test_digits_are_split_without_overlap_and_complete():
  train, validation = (datasets.load({'name': 'digits'}, split) for split in datasets.SPLITS)
  assert len(train) + len(validation) == 1797
  assert train.image_shape == (28, 28, 1)
  assert train.arrays()['image'].max() == 255
  seen = {source[i].image.tobytes() for source in (train, validation) for i in range(len(source))}
  assert len(seen) > 1750  # all but a few look-alikes are distinct


def test_class_index_is_complete_and_in_order():
  source = ArraySource(np.zeros((5, 2, 2, 1), np.uint8), np.array([2, 0, 2, 0, 0]), 'abc')
  np.testing.assert_array_equal(source.class_index[0], [1, 3, 4])
  np.testing.assert_array_equal(source.class_index[1], [])
  np.testing.assert_array_equal(source.class_index[2], [0, 2])


@pytest.mark.parametrize(
  ('images', 'labels'),
  [
    (np.zeros((2, 4, 4), np.uint8), np.zeros(2, int)),
    (np.zeros((2, 4, 4, 1), np.float32), np.zeros(2, int)),
    (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, int)),
    (np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 9])),
  ],
)
def test_arrays_that_do_not_fit_are_refused(images, labels):
  with pytest.raises(ValueError, match='must'):
    ArraySource(images, labels, 'abc')


def write_idx(path, values, magic=(0, 0, 8), compress=False):
  header = bytes([*magic, values.ndim]) + struct.pack(f'>{values.ndim}I', *values.shape)
  data = header + values.astype(np.uint8).tobytes()
  path.write_bytes(gzip.compress(data) if compress else data)


@pytest.fixture
def idx_folder(tmp_path, rng):
  for prefix, count in (('train', 6), ('t10k', 3)):
    images = rng.integers(0, 256, (count, 5, 4))
    labels = np.arange(count) % 3
    write_idx(tmp_path / f'{prefix}-images-idx3-ubyte.gz', images, compress=True)
    write_idx(tmp_path / f'{prefix}-labels-idx1-ubyte', labels)
  return tmp_path


def test_idx_files_are_read_plain_and_compressed(idx_folder):
  expected = np.random.default_rng(7).integers(0, 256, (6, 5, 4))  # as the fixture drew them
  source = datasets.load({'name': 'idx', 'folder': str(idx_folder)}, 'train')
  assert source.image_shape == (5, 4, 1)
  assert [source[i].label for i in range(6)] == [0, 1, 2, 0, 1, 2]
  assert len(datasets.load({'name': 'idx', 'folder': str(idx_folder)}, 'validation')) == 3
  np.testing.assert_array_equal(source.arrays()['image'][..., 0], expected)


def test_idx_folder_may_come_from_the_environment(idx_folder, monkeypatch):
  monkeypatch.setenv('L2O_IDX_DIR', str(idx_folder))
  assert len(datasets.load({'name': 'idx'}, 'train')) == 6


def test_missing_idx_data_says_what_provides_it(tmp_path, monkeypatch):
  monkeypatch.delenv('L2O_IDX_DIR', raising=False)
  with pytest.raises(InputError, match='the variable L2O_IDX_DIR'):
    datasets.load({'name': 'idx'}, 'train')
  with pytest.raises(InputError, match='neither train-images-idx3-ubyte nor'):
    datasets.load({'name': 'idx', 'folder': str(tmp_path)}, 'train')


@pytest.mark.parametrize('damage', ['truncated', 'magic', 'gzip', 'count'])
def test_a_damaged_idx_file_is_named(idx_folder, damage):
  path = idx_folder / 'train-labels-idx1-ubyte'
  if damage == 'truncated':
    path.write_bytes(path.read_bytes()[:-2])
  elif damage == 'magic':
    write_idx(path, np.arange(6), magic=(0, 0, 9))
  elif damage == 'count':
    write_idx(path, np.arange(5) % 3)
  else:
    path = idx_folder / 'train-images-idx3-ubyte.gz'
    path.write_bytes(path.read_bytes()[:20])
  says = 'labels' if damage == 'count' else path.name
  with pytest.raises(InputError, match=says):
    datasets.load({'name': 'idx', 'folder': str(idx_folder)}, 'train')


def test_an_unknown_data_set_lists_what_there_is():
  with pytest.raises(InputError, match=r"no data set 'glyph' \(did you mean 'glyphs'\?\)"):
    datasets.load({'name': 'glyph'}, 'train')

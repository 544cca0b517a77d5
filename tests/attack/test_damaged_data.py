"""Data that is damaged, mislabelled or asked for in an impossible way is refused in a sentence."""

import gzip
import io
import pathlib
import shutil
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets import batch_sources
from datasets.sampler import TaskSampler
from datasets.splits import split_classes
from l2o.errors import InputError
from l2o.registry import call


def idx_bytes(values, shape=None):
  shape = values.shape if shape is None else shape
  return bytes([0, 0, 8, len(shape)]) + struct.pack(f'>{len(shape)}I', *shape) + values.tobytes()


@pytest.fixture
def idx_folder(tmp_path):
  for prefix, count in (('train', 6), ('t10k', 3)):
    images, labels = np.zeros((count, 5, 4), np.uint8), (np.arange(count) % 3).astype(np.uint8)
    packed = gzip.compress(idx_bytes(images))
    (tmp_path / f'{prefix}-images-idx3-ubyte.gz').write_bytes(packed)
    (tmp_path / f'{prefix}-labels-idx1-ubyte').write_bytes(idx_bytes(labels))
  return tmp_path


def load_idx(folder, split='train', **changes):
  return datasets.load({'name': 'idx', 'folder': str(folder)} | changes, split)


@pytest.mark.parametrize(
  ('shape', 'says'),
  [
    ((2**31, 2**31, 4), 'holds 0 values where its header says'),  # 2^64, which is 0 in 64 bits
    ((2**32 - 1, 2**32 - 1, 2**32 - 1), 'holds 0 values'),
    ((0, 2**32 - 1, 2**32 - 1), 'is empty'),
    ((0, 28, 28), 'is empty'),
    ((6, 0, 28), 'is empty'),
  ],
)
def test_lengths_of_an_idx_file_that_are_not_those_of_its_values(idx_folder, shape, says):
  (idx_folder / 'train-images-idx3-ubyte').write_bytes(idx_bytes(np.zeros(0, np.uint8), shape))
  with pytest.raises(InputError, match=f'train-images-idx3-ubyte {says}'):
    load_idx(idx_folder)


def test_a_damaged_gzip_file_is_named(idx_folder):
  path = idx_folder / 'train-images-idx3-ubyte.gz'
  content = path.read_bytes()
  kinds = [content + b'garbage', content[:-6], b'', b'\x1f\x8b', content[:12] + b'\xff\xff\xff']
  for place in range(0, 8 * len(content), 3):
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    kinds.append(bytes(changed))
  refused = 0
  for changed in kinds:
    path.write_bytes(changed)
    try:
      assert load_idx(idx_folder).image_shape == (5, 4, 1)  # its header has a date and a name
    except InputError as error:
      refused += path.name in str(error)
  assert refused > 0.6 * len(kinds)


def test_validation_labels_beyond_those_of_training_are_refused(idx_folder):
  labels = np.array([0, 7, 1], np.uint8)
  (idx_folder / 't10k-labels-idx1-ubyte').write_bytes(idx_bytes(labels))
  assert len(load_idx(idx_folder)) == 6
  with pytest.raises(InputError, match=r'record 1 of t10k-labels has the label 7, .*end at 2'):
    load_idx(idx_folder, 'validation')
  left = load_idx(idx_folder, 'validation', on_bad_record='skip')
  assert (len(left), left.skipped, left[1].label) == (2, 1, 1)


def test_an_overlong_folder_is_not_there():
  with pytest.raises(InputError, match='has neither train-images'):
    load_idx('x' * 5000)
  with pytest.raises(InputError, match='neither a folder nor a readable zip file'):
    load_tiny('x' * 5000)
  with pytest.raises(InputError, match='neither a folder nor a readable zip file'):
    batch_sources.load({'name': 'lane_keeping', 'path': 'x' * 5000}, seed=0)


@pytest.fixture
def tiny_imagenet(tmp_path):
  root = tmp_path / 'tiny-imagenet-200'
  (root / 'val' / 'images').mkdir(parents=True)
  (root / 'wnids.txt').write_text('n01\nn02\n')
  (root / 'words.txt').write_text('n01\tgoldfish\nn02\tfrog\n')
  (root / 'val' / 'val_annotations.txt').write_text('val_0.JPEG\tn01\nval_1.JPEG\tn02\n')
  file = io.BytesIO()
  Image.fromarray(np.arange(3072, dtype=np.uint8).reshape(32, 32, 3)).save(file, 'JPEG')
  for label, wnid in enumerate(('n01', 'n02')):
    (root / 'train' / wnid / 'images').mkdir(parents=True)
    (root / 'train' / wnid / 'images' / f'{wnid}_0.JPEG').write_bytes(file.getvalue())
    (root / 'val' / 'images' / f'val_{label}.JPEG').write_bytes(file.getvalue())
  return root


def load_tiny(path, **changes):
  return datasets.load({'name': 'tiny_imagenet', 'path': str(path)} | changes, 'validation')


@pytest.mark.parametrize('packed', [False, True], ids=['folder', 'zip'])
@pytest.mark.parametrize('name', ['wnids.txt', 'words.txt', 'val/val_annotations.txt'])
def test_a_list_that_is_no_text_is_named(tiny_imagenet, name, packed):
  path = tiny_imagenet / name
  path.write_bytes(path.read_bytes() + b'\xff\xfe')
  where = tiny_imagenet
  if packed:
    where = shutil.make_archive(str(where), 'zip', where.parent, where.name)
  with pytest.raises(InputError, match=f'{name} cannot be read as text'):
    load_tiny(where)


def test_a_class_that_is_named_twice_is_refused(tiny_imagenet):
  (tiny_imagenet / 'wnids.txt').write_text('n01\nn02\nn01\n')
  with pytest.raises(InputError, match=r'wnids\.txt names n01 more than once'):
    load_tiny(tiny_imagenet)


def zipped(folder):
  return shutil.make_archive(str(folder), 'zip', folder.parent, folder.name)


@pytest.mark.parametrize('name', ['words.txt', 'val/images/val_0.JPEG'])
def test_an_encrypted_member_is_named(tiny_imagenet, name):
  """The bit of its flags that says so, in both of its headers."""
  path = tiny_imagenet.parent / 'locked.zip'
  shutil.copy(zipped(tiny_imagenet), path)
  content = bytearray(path.read_bytes())
  for signature, offset, length in ((b'PK\x03\x04', 6, 30), (b'PK\x01\x02', 8, 46)):
    start = 0
    while (start := content.find(signature, start)) >= 0:
      if content[start + length :].startswith(f'tiny-imagenet-200/{name}'.encode()):
        content[start + offset] |= 1
      start += 4
  path.write_bytes(content)
  with pytest.raises(InputError, match=rf'{name} .*encrypted'):
    load_tiny(path)


def test_a_zip_file_with_a_bit_turned_over_is_read_or_refused(tiny_imagenet):
  content = pathlib.Path(zipped(tiny_imagenet)).read_bytes()
  path = tiny_imagenet.parent / 'damaged.zip'
  rng = np.random.default_rng(0)
  end = len(content) * 8
  for place in (*rng.integers(0, end, 200), *range(end - 22 * 8, end, 3)):
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    path.write_bytes(changed)
    for bad in ('error', 'skip'):
      try:
        assert load_tiny(path, on_bad_record=bad).image_shape == (64, 64, 3)
      except InputError as error:
        assert str(path) in str(error)  # noqa: PT017, some are read
  for size in np.linspace(0, len(content) - 1, 20).astype(int):
    path.write_bytes(content[:size])
    with pytest.raises(InputError, match=r'damaged\.zip'):
      load_tiny(path)


def test_a_member_without_a_name_is_no_trace(tiny_imagenet):
  path = tiny_imagenet.parent / 'nameless.zip'
  shutil.copy(zipped(tiny_imagenet), path)
  with zipfile.ZipFile(path, 'a') as file:
    file.writestr(zipfile.ZipInfo(''), b'x')
  assert len(load_tiny(path)) == 2


def test_a_jpeg_with_a_bit_turned_over_is_an_image_or_named(tiny_imagenet):
  path = tiny_imagenet / 'val' / 'images' / 'val_0.JPEG'
  content = path.read_bytes()
  for place in np.random.default_rng(1).integers(0, len(content) * 8, 150):
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    path.write_bytes(changed)
    try:
      assert len(load_tiny(tiny_imagenet)) == 2
    except InputError as error:
      assert 'val_0.JPEG' in str(error)  # noqa: PT017, some are read


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """Two pairs of splits, the later ones with labels that are not there."""
  pytest.importorskip('tensorflow')  # to prepare, not to read
  tfds = pytest.importorskip('tensorflow_datasets')
  kind = tfds.features.ClassLabel(names=['blue', 'red'])
  features = {'picture': tfds.features.Image(shape=(6, 8, 3)), 'kind': kind, 'weight': np.float32}

  def stamps(labelled):
    for i in range(6):
      picture = np.full((6, 8, 3), 20 * i, np.uint8)
      label = i % 2 if labelled else -1
      yield i, {'picture': picture, 'kind': label, 'weight': np.float32(1.0)}

  folder = tmp_path_factory.mktemp('tfds')
  tfds.dataset_builders.store_as_tfds_dataset(
    name='stamps',
    version='1.0.0',
    features=tfds.features.FeaturesDict(features),
    split_datasets={'train': stamps(True), 'unlabelled': stamps(False)},
    data_dir=folder,
    file_format='array_record',
  )
  return folder


def load_tfds(folder, monkeypatch, **changes):
  monkeypatch.setenv('TFDS_DATA_DIR', str(folder))
  spec = {'name': 'tfds', 'dataset': 'stamps', 'image': 'picture', 'label': 'kind', 'size': 4}
  return datasets.load(spec | changes, 'train')


@pytest.mark.parametrize('in_memory', [True, False])
@pytest.mark.parametrize('damage', ['missing', 'empty', 'cut', 'footer', 'records', 'zeros'])
def test_damaged_records_are_refused(prepared, tmp_path, monkeypatch, damage, in_memory):
  shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
  path = next(tmp_path.rglob('*train.array_record*'))
  content = bytearray(path.read_bytes())
  if damage == 'missing':
    path.unlink()
  elif damage == 'empty':
    path.write_bytes(b'')
  elif damage == 'cut':
    path.write_bytes(content[: len(content) // 2])
  elif damage == 'zeros':
    path.write_bytes(bytes(len(content)))
  else:
    content[{'footer': len(content) // 2, 'records': 300}[damage]] ^= 0x55
    path.write_bytes(content)
  with pytest.raises(InputError, match=r'stamps.* cannot be read \(.*prepare it again') as error:
    load_tfds(tmp_path, monkeypatch, in_memory=in_memory)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('in_memory', [True, False])
@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'image': 'kind'}, "the feature 'kind' is not an image"),
    ({'image': 'weight'}, "the feature 'weight' is not an image"),
    ({'label': 'picture'}, "the feature 'picture' is not a class label"),
    ({'train_split': 'unlabelled'}, r'record 0 has the label -1, outside 0\.\.1'),
    ({'train_split': 'train[:x]'}, "no split 'train"),
    ({'train_split': 'train['}, "no split 'train"),
    ({'train_split': 'train[:0]'}, "no split 'train"),
    ({'train_split': ''}, "no split ''"),
    ({'train_split': 3}, 'train_split must be a string'),
    ({'size': -1}, 'size must be .*at least 0 and at most 4096'),
    ({'size': 10**9}, 'size must be .*at least 0 and at most 4096'),
    ({'size': 'x'}, 'size must be .*'),
    ({'size': 2.5}, 'size must be .*'),
    ({'download': 1}, 'download must be True or False'),
  ],
)
def test_what_a_prepared_data_set_cannot_give(prepared, monkeypatch, changes, says, in_memory):
  with pytest.raises(InputError, match=says):
    load_tfds(prepared, monkeypatch, in_memory=in_memory, **changes)


@pytest.mark.parametrize(
  ('spec', 'says'),
  [
    ({'name': 'glyphs', 'per_font': 0}, 'per_font must be .*at least 1'),
    ({'name': 'glyphs', 'per_font': 1.5}, 'per_font must be .*'),
    ({'name': 'glyphs', 'per_font': True}, 'per_font must be .*'),
    ({'name': 'glyphs', 'per_font': 10**12}, 'GiB, more than this machine has.*smaller per_font'),
    ({'name': 'glyphs', 'seed': -1}, 'seed must be .*at least 0'),
    ({'name': 'digits', 'validation': 1.0}, 'validation must be .*above 0 and below 1'),
    ({'name': 'digits', 'validation': 1e-9}, 'leaves one split without images'),
    ({'name': 'digits', 'validation': 0.99999}, 'leaves one split without images'),
    ({'name': 'digits', 'validation': float('nan')}, 'validation must be a number'),
    ({'name': 'digits', 'size': 0}, 'size must be .*at least 1'),
    ({'name': 'digits', 'size': 10**6}, 'size must be .*at least 1 and at most'),
    ({'name': 'digits', 'size': '28'}, 'size must be .*'),
    ({'name': 'idx', 'folder': 3}, 'folder must be a string'),
    ({'name': 'tiny_imagenet', 'size': -1}, 'size must be .*at least 1'),
    ({'name': 'tiny_imagenet', 'path': 3}, 'path must be a string'),
  ],
)
def test_arguments_of_data_sets_are_checked(spec, says):
  with pytest.raises(InputError, match=f'data set {spec["name"]}.*{says}|{says}'):
    datasets.load(spec, 'train')


@pytest.mark.parametrize(
  ('spec', 'says'),
  [
    ({'name': 'lane_keeping', 'num_steps': 0}, 'num_steps must be .*at least 1'),
    ({'name': 'lane_keeping', 'batch_size': 1.5}, 'batch_size must be .*'),
    ({'name': 'lane_keeping', 'unit': float('inf')}, 'unit must be .*above 0'),
    ({'name': 'lane_keeping', 'path': 3}, 'path must be a string'),
    ({'name': 'photograph', 'crop': 2.5}, 'crop must be .*at least 2'),
    ({'name': 'photograph', 'batch_size': '4'}, 'batch_size must be .*'),
    ({'name': 'photograph', 'picture': 3}, 'picture must be a string'),
    ({'name': 'volume', 'crop': -1}, 'crop must be .*at least 2'),
    ({'name': 'volume', 'path': None}, 'path must be a string'),
    ({'name': 'sines', 'periods': float('nan')}, 'periods must be a number'),
    ({'name': 'sines', 'noise': 'x'}, 'noise must be a number'),
    ({'name': 'spiral', 'num_steps': 2.0}, 'num_steps must be .*at least 2'),
    (
      {'name': 'images', 'source': 'digits', 'split': {'a': 4}, 'classes': 'a'},
      'source must be a block of keys',
    ),
    (
      {'name': 'images', 'source': {'name': 'digits'}, 'split': 4, 'classes': 'a'},
      'split must be a block of keys',
    ),
  ],
)
def test_arguments_of_batch_sources_are_checked(spec, says):
  with pytest.raises(InputError, match=f'batch_source {spec["name"]}: {says}'):
    batch_sources.load(spec, seed=0)


@pytest.mark.parametrize(
  ('sizes', 'says'),
  [
    ({'a': 2.5}, r'class_split\.a must be .*at least 1, not 2\.5'),
    ({'a': '3'}, r"class_split\.a must be .*at least 1, not '3'"),
    ({'a': True}, r'class_split\.a must be .*'),
    ({'a': None}, r'class_split\.a must be .*'),
    ({'a': [3]}, r'class_split\.a must be .*'),
    ({'a': -1}, r'class_split\.a must be .*'),
    ({'a': {'first': 'x'}}, r"class_split\.a\.first must be .*at least 1, not 'x'"),
    ({'a': {'first': 0}}, r'class_split\.a\.first must be .*at least 1, not 0'),
    ({'a': {'frist': 3}}, r"class_split\.a has no 'frist'.*; it takes first"),
    ({'a': {}}, r'class_split\.a needs first'),
    ({}, 'class_split must name at least one part'),
    ([3, 4], 'class_split must say how many classes each part has'),
  ],
)
def test_sizes_of_a_class_split_are_checked(sizes, says):
  with pytest.raises(InputError, match=says):
    split_classes(10, sizes, seed=0)


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'num_ways': 0}, r'episodes\.num_ways must be .*at least 1, not 0'),
    ({'num_ways': 2.5}, r'episodes\.num_ways must be .*at least 1'),
    ({'batch_size': 0}, r'episodes\.batch_size must be .*at least 1'),
    ({'eval_size': '9'}, r'episodes\.eval_size must be .*at least 1'),
  ],
)
def test_sizes_of_a_task_are_checked(changes, says):
  spec = {'num_ways': 2, 'batch_size': 4, 'eval_size': 4} | changes
  with pytest.raises(InputError, match=says):
    call(TaskSampler, spec, 'episodes', train=None, validation=None, classes=(), seed=0)

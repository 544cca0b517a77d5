"""The tensorflow-datasets source, on a data set that the test prepares itself."""

import dataclasses
import json
import shutil
import sys
import types

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets import transforms
from datasets.images import resized
from datasets.input_pipeline import Batches, Reader, Reading, Step
from l2o.errors import InputError
from tests.without import run_without
from trainers.checks import blocks
from trainers.resources import run_data


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """Two splits of three classes, prepared as ArrayRecord files."""
  pytest.importorskip('tensorflow')  # to prepare, not to read
  tfds = pytest.importorskip('tensorflow_datasets')

  kind = tfds.features.ClassLabel(names=['blue', 'red', 'green'])
  features = {'picture': tfds.features.Image(shape=(6, 8, 3)), 'kind': kind, 'weight': np.float32}
  folder = tmp_path_factory.mktemp('tfds')
  tfds.dataset_builders.store_as_tfds_dataset(
    name='stamps',
    version='1.0.0',
    features=tfds.features.FeaturesDict(features),
    split_datasets={'train': stamps(9), 'rest': stamps(5)},
    data_dir=folder,
    file_format='array_record',
  )
  return folder


def stamps(count):
  """Evenly coloured pictures whose colour tells their kind."""
  for i in range(count):
    picture = np.full((6, 8, 3), 20 * i, np.uint8)
    yield i, {'picture': picture, 'kind': i % 3, 'weight': np.float32(1.0)}


@pytest.fixture
def spec(prepared, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(prepared))
  names = {'image': 'picture', 'label': 'kind', 'validation_split': 'rest'}
  return {'name': 'tfds', 'dataset': 'stamps', **names}


def test_images_labels_and_names_come_as_they_were_written(spec):
  train, validation = (datasets.load(spec, split) for split in datasets.SPLITS)
  assert (len(train), len(validation)) == (9, 5)
  assert train.class_names == ('blue', 'red', 'green')
  assert train.image_shape == (6, 8, 3)
  for source in (train, validation):
    for example in (source[i] for i in range(len(source))):
      assert np.ptp(example.image) == 0
      assert example.image[0, 0, 0] // 20 % 3 == example.label


def test_images_are_resized_if_asked_for(spec):
  assert datasets.load(spec | {'size': 4}, 'train').image_shape == (4, 4, 3)


def test_read_record_by_record_it_is_the_same_data_set(spec):
  whole = datasets.load(spec | {'size': 4}, 'train')
  lazy = datasets.load(spec | {'size': 4, 'in_memory': False}, 'train')
  assert len(lazy) == len(whole)
  assert lazy.class_names == whole.class_names
  assert lazy.image_shape == whole.image_shape
  for ours, theirs in zip(lazy.class_index, whole.class_index, strict=True):
    np.testing.assert_array_equal(ours, theirs)
  for i in range(len(whole)):
    np.testing.assert_array_equal(lazy[i].image, whole[i].image)
    assert lazy[i].label == whole[i].label
  with pytest.raises(InputError, match=r'set feed\.chunk_steps'):
    lazy.arrays()


@pytest.mark.parametrize('workers', [0, 1])
def test_images_of_any_size_are_read_through_transforms(spec, workers):
  lazy = datasets.load(spec | {'in_memory': False}, 'train')
  assert lazy.image_shape is None
  reader = Reader(lazy, transforms.build([{'name': 'centre_crop', 'size': 4}], 'feed.train'))

  def step(number):
    index = np.array([number, 0, 2])
    return Step(index, index, (0, number))

  batches = Batches(reader, step, 1, 3, Reading(workers=workers))
  found = np.stack([batch['image'] for batch in batches])
  batches.close()
  middles = [reader(i) for i in (1, 0, 2, 2, 0, 2)]
  np.testing.assert_array_equal(found.reshape(6, 4, 4, 3), middles)


def test_images_without_a_size_need_transforms_that_give_them_one(spec):
  lazy = datasets.load(spec | {'in_memory': False}, 'train')
  feed = blocks.Feed(chunk_steps=1, tasks_at_once=1, threads=1)
  data = run_data.Data({'stamps': {'train': lazy, 'validation': lazy}}, {}, 0, feed)
  with pytest.raises(InputError, match='need a `size` in their source, or transforms'):
    run_data.image_shape(data)
  crops = ({'name': 'centre_crop', 'size': 4},)
  data = data._replace(feed=dataclasses.replace(feed, train=crops, evaluation=crops))
  assert run_data.image_shape(data) == (4, 4, 3)


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'dataset': 'stampz'}, "no data set 'stampz'"),
    ({'label': 'kin'}, "no feature of stamps 'kin'.*did you mean 'kind'"),
    ({'label': 'weight'}, "'weight' is not a class label"),
    ({'validation_split': 'test'}, "no split 'test' that can be read .*; it has train, rest"),
    ({'dataset': 'mnist'}, 'mnist is not prepared in .* set TFDS_DATA_DIR .* or download = True'),
  ],
)
def test_what_is_not_there_is_named_and_nothing_is_fetched(spec, prepared, changes, says):
  before = sorted(prepared.iterdir())
  with pytest.raises(InputError, match=says):
    datasets.load(spec | changes, 'validation')
  assert sorted(prepared.iterdir()) == before


READ = """
import json
import shutil
import datasets

spec = json.loads(sys.argv[1])
for extra in ({}, {'in_memory': False}):
  source = datasets.load(spec | extra, 'train')
  print(json.dumps([source[i].image.tolist() for i in range(len(source))]))
assert 'tensorflow' not in sys.modules
"""


def test_what_is_prepared_is_read_without_tensorflow(spec):
  here = datasets.load(spec | {'size': 4}, 'train')
  images = [here[i].image.tolist() for i in range(len(here))]
  output = run_without({'tensorflow', 'tensorboard'}, READ, json.dumps(spec | {'size': 4}))
  assert [json.loads(line) for line in output.splitlines()] == [images, images]


def test_a_download_says_that_it_needs_tensorflow(monkeypatch):
  builder = types.SimpleNamespace(is_prepared=lambda: False)
  monkeypatch.setattr('tensorflow_datasets.builder', lambda *args, **kwargs: builder)
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  with pytest.raises(InputError, match=r"download of mnist needs .*'l2o\[tensorflow\]'"):
    datasets.load({'name': 'tfds', 'dataset': 'mnist', 'download': True}, 'train')


def test_resizing_cuts_the_longer_side_evenly_and_keeps_the_channels():
  image = np.zeros((10, 20, 3), np.uint8)
  image[:, 5:15] = 200  # what remains of the width
  np.testing.assert_array_equal(resized(image, 5), np.full((5, 5, 3), 200))
  assert resized(image, 0) is image
  assert resized(image[..., :1], 4).shape == (4, 4, 1)


@pytest.fixture
def damaged(tmp_path, monkeypatch):
  """Record 1 is a truncated JPEG, 3 a PNG of another shape, 5 of a kind without a name."""
  pytest.importorskip('tensorflow')  # to prepare, not to read
  tfds = pytest.importorskip('tensorflow_datasets')
  pixels = np.random.default_rng(0).integers(0, 255, (7, 16, 24, 3), dtype=np.uint8)
  paths = []
  for i, picture in enumerate(pixels):
    paths.append(tmp_path / f'{i}.{"png" if i == 3 else "jpg"}')
    Image.fromarray(picture[:9] if i == 3 else picture).save(paths[-1])
  paths[1].write_bytes(paths[1].read_bytes()[:-40])
  kind = tfds.features.ClassLabel(names=['blue', 'red', 'green', 'white'])
  features = {'picture': tfds.features.Image(shape=(16, 24, 3)), 'kind': kind}
  kinds = [0, 1, 2, 0, 1, 3, 2]
  rows = [(i, {'picture': str(paths[i]), 'kind': kinds[i]}) for i in range(7)]
  tfds.dataset_builders.store_as_tfds_dataset(
    name='letters',
    version='1.0.0',
    features=tfds.features.FeaturesDict(features),
    split_datasets={'train': rows, 'test': rows[:4]},
    data_dir=tmp_path,
    disable_shuffling=True,
    file_format='array_record',
  )
  names = next(tmp_path.rglob('kind.labels.txt'))
  names.write_text('blue\nred\ngreen\n')
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  return {'name': 'tfds', 'dataset': 'letters', 'image': 'picture', 'label': 'kind'}


def test_a_bad_record_is_named_or_left_out_and_counted(damaged):
  for train_split, says in (
    ('train', r'letters, train: the image of record 1 is truncated .*prepare it again'),
    ('train[3:]', r'train\[3:\]: the image of record 0 is \(9, 24, 3\), not \(16, 24, 3\)'),
    ('train[4:]', r'train\[4:\]: record 1 has the label 3, outside 0\.\.2'),
  ):
    with pytest.raises(InputError, match=rf'{says}.*, or set on_bad_record=.skip. to leave'):
      datasets.load(damaged | {'train_split': train_split}, 'train')
  left = datasets.load(damaged | {'on_bad_record': 'skip'}, 'train')
  assert [left[i].label for i in range(len(left))] == [0, 2, 1, 2]
  assert left.skipped == 3


def test_a_class_that_would_lose_all_its_records_is_refused(damaged):
  with pytest.raises(InputError, match=r"no records of the class 'red'.*record 1 is truncated"):
    datasets.load(damaged | {'on_bad_record': 'skip'}, 'validation')


def test_records_that_are_read_on_demand_are_left_out_before_any_is_drawn(damaged):
  spec = damaged | {'in_memory': False, 'size': 4}
  with pytest.raises(InputError, match=r'train: record 5 has the label 3, outside 0\.\.2'):
    datasets.load(spec, 'train')
  left = datasets.load(spec | {'on_bad_record': 'skip'}, 'train')
  whole = datasets.load(damaged | {'size': 4, 'on_bad_record': 'skip'}, 'train')
  assert ([left[i].label for i in range(4)], left.skipped) == ([0, 2, 1, 2], 3)
  for i in range(4):
    np.testing.assert_array_equal(left[i].image, whole[i].image)
  assert [rows.tolist() for rows in left.class_index] == [[0], [2], [1, 3]]


def test_an_image_found_bad_when_it_is_read_ends_the_run_with_its_record(damaged):
  source = datasets.load(damaged | {'in_memory': False, 'train_split': 'train[:4]'}, 'train')
  assert source[2].image.shape == (16, 24, 3)
  with pytest.raises(InputError, match=r'train\[:4\]: the image of record 1 is truncated'):
    source[1]


def test_a_record_whose_bytes_are_damaged_leaves_the_others(spec, prepared, tmp_path, monkeypatch):
  shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  path = next(tmp_path.rglob('*train.array_record*'))
  content = bytearray(path.read_bytes())
  place = [content.find(b'\x89PNG', content.find(b'\x89PNG') + 1)]
  content[place[0] + 20] ^= 0x55
  path.write_bytes(content)
  with pytest.raises(InputError, match='stamps, train: record 1 cannot be read'):
    datasets.load(spec, 'train')
  left = datasets.load(spec | {'on_bad_record': 'skip'}, 'train')
  assert (len(left), left.skipped) == (8, 1)

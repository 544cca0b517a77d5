"""Images that the host feeds are a function of their place, whoever reads them."""

from functools import partial
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest

import datasets
from datasets import transforms
from datasets.input_pipeline import Batches, InOrder, Reader, Reading, Step, chunks

AUGMENT = ({'name': 'random_crop', 'size': 28, 'padding': 3}, {'name': 'flip'})
LOTS = 140  # of images in a step: more than a thread reads at a time


@pytest.fixture(scope='module')
def source():
  return datasets.load({'name': 'digits'}, 'train')


def step(number, episodes=2, batch=5):
  """What a step reads: other images for each of two episodes."""
  rng = np.random.default_rng((3, number))
  index = rng.integers(0, 900, (episodes, batch))
  return Step(index, index % 7, key=(11, number))


ALONE = Reading()


def read(source, first, stop, reading=ALONE, part=None, steps=step):
  batches = Batches(
    Reader(source, transforms.build(AUGMENT, 'feed')), steps, first, stop, reading, part
  )
  found = list(batches)
  batches.close()
  return {name: np.stack([batch[name] for batch in found]) for name in found[0]}


def same(a, b):
  return all(np.array_equal(a[name], b[name]) for name in (*a, *b))


def test_images_are_read_transformed_and_labelled_in_the_order_of_the_steps(source):
  found = read(source, 0, 4)
  assert found['image'].shape == (4, 2, 5, 28, 28, 1)
  untouched = list(Batches(Reader(source), step, 0, 4, ALONE))
  for number, batch in enumerate(untouched):
    index = step(number).index
    np.testing.assert_array_equal(batch['image'], source.arrays()['image'][index])
    np.testing.assert_array_equal(found['label'][number], index % 7)
  assert (found['image'] != np.stack([batch['image'] for batch in untouched])).any()


def test_any_number_of_threads_processes_and_hosts_gives_the_same_images(source):
  whole = read(source, 0, 3)
  assert same(whole, read(source, 0, 3, Reading(ahead=2, threads=3)))
  assert same(whole, read(source, 0, 3, Reading(ahead=2, workers=2)))
  parts = [read(source, 0, 3, part=slice(*ends)) for ends in ((0, 2), (2, 5))]
  joined = {name: np.concatenate([p[name] for p in parts], axis=2) for name in whole}
  assert same(whole, joined)


def test_reading_may_begin_at_any_step(source):
  assert same(read(source, 2, 5), {k: x[2:] for k, x in read(source, 0, 5).items()})


def test_a_large_batch_is_read_in_parts(source):
  steps = partial(step, episodes=1, batch=LOTS)
  found = read(source, 1, 3, Reading(ahead=1, threads=4), steps=steps)
  assert found['label'].shape == (2, 1, LOTS)
  np.testing.assert_array_equal(found['label'][1], steps(2).label)
  part = read(source, 1, 3, part=slice(60, 70), steps=steps)  # the transforms are those of the rows
  np.testing.assert_array_equal(part['image'], found['image'][:, :, 60:70])


def test_the_same_image_is_transformed_anew_in_every_place(source):
  def one(number):
    return Step(np.full((2, 4), 17), np.zeros((2, 4), int), key=(11, number))

  images = read(source, 0, 6, steps=one)['image'].reshape(48, -1)
  distinct = len(np.unique(images, axis=0))
  assert distinct > 30  # 49 crops, mirrored or not


def test_batches_asked_for_out_of_order_are_those_of_their_number(source):
  begun = []

  def begin(first):
    begun.append(first)
    return Batches(Reader(source), step, first, 6, Reading(ahead=2, threads=2))

  batches = InOrder(begin)
  for number in (1, 2, 3, 0, 4):
    np.testing.assert_array_equal(batches(number)['label'], step(number).label)
  assert begun == [1, 0, 4]
  batches.close()


@pytest.mark.parametrize(('num_steps', 'chunk_steps'), [(7, 3), (6, 3), (1, 4), (7, 7)])
def test_chunks_are_the_steps_in_order(source, num_steps, chunk_steps):
  batches = Batches(Reader(source), step, 0, num_steps, Reading(chunk_steps, threads=3))
  seen = list(chunks(batches, num_steps, chunk_steps))
  assert [first for first, _ in seen] == list(range(0, num_steps, chunk_steps))
  shape = (chunk_steps, 2, 5, *source.image_shape)
  assert {chunk['image'].shape for _, chunk in seen} == {shape}  # one shape, one program
  labels = np.concatenate([chunk['label'] for _, chunk in seen])[:num_steps]
  np.testing.assert_array_equal(labels, [step(number).label for number in range(num_steps)])


class Broken:
  """A source one image of which cannot be read."""

  def __init__(self, source, index):
    self.source, self.index = source, index

  def __getitem__(self, i):
    if i == self.index:
      raise OSError('shard 3 is cut short')
    return self.source[i]


@pytest.mark.parametrize('workers', [0, 2])
def test_an_image_that_cannot_be_read_ends_the_run_with_its_own_error(source, workers):
  bad = np.setdiff1d(step(4).index, [step(number).index for number in range(4)])[1]
  batches = Batches(Reader(Broken(source, bad)), step, 0, 7, Reading(2, 1, workers))
  seen = []
  # In a thread of its own: one that waits for ever would not end the test.
  with ThreadPool(1) as pool, pytest.raises(OSError, match='shard 3 is cut short'):
    pool.apply_async(lambda: seen.extend(batch['label'] for batch in batches)).get(timeout=90)
  assert len(seen) == 4
  batches.close()


def test_black_images_are_views_of_one():
  sizes = {'num_classes': 3, 'train': 9, 'validation': 50_000, 'size': 30}
  source = datasets.load({'name': 'blank', **sizes}, 'validation')
  size = {'name': 'centre_crop', 'size': 20}, {'name': 'resize', 'size': (224, 300)}
  read = Reader(source, transforms.build(size, 'feed'))
  images = read.images(np.arange(40_000).reshape(10_000, 4))
  assert images.shape == (10_000, 4, 224, 300, 3)
  assert images.strides[:2] == (0, 0)
  np.testing.assert_array_equal(images[7, 3], read(31))

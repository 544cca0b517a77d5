"""Labelled images as batches: disjoint parts of classes, of training, evaluation and test."""

import numpy as np
import pytest

import datasets
from datasets import batch_sources
from datasets.labelled_images import images
from l2o.errors import InputError
from tests.attack.test_damaged_data import idx_bytes
from trainers.checks import blocks

SPEC = {
  'name': 'images',
  'source': {'name': 'digits'},
  'split': {'old': 6, 'new': 4},
  'classes': 'new',
  'batch_size': 16,
  'num_evaluated': 50,
}


def load(seed=5, **changes):
  return batch_sources.load(SPEC | changes, seed)


def classes(batch_source, split='train', batches=20):
  """label -> the digits that the images with it show, found by their pixels."""
  source = datasets.load(SPEC['source'], split)
  digit = {source[i].image.tobytes(): source[i].label for i in range(len(source))}
  if split == 'train':
    drawn = [batch_source.sample(number) for number in range(batches)]
  else:
    drawn = [batch_source.evaluation, batch_source.test]
  found = {}
  for batch in drawn:
    for image, label in zip(batch['image'], batch['label'], strict=True):
      found.setdefault(int(label), set()).add(digit[image.tobytes()])
  return found


def test_the_parts_of_a_split_share_no_class_and_number_them_alike():
  old, new = load(classes='old'), load()
  for split in datasets.SPLITS:
    of_old, of_new = classes(old, split), classes(new, split)
    assert sorted(of_old) == list(range(6))
    assert sorted(of_new) == list(range(4))
    digits = [next(iter(shown)) for shown in (*of_old.values(), *of_new.values())]
    assert all(len(shown) == 1 for shown in (*of_old.values(), *of_new.values()))
    assert sorted(digits) == list(range(10))
  assert classes(new, 'train') == classes(new, 'validation')


def test_evaluation_and_test_are_all_validation_images_once():
  batch_source = load()
  assert len(batch_source.evaluation['label']) == 50
  both = np.concatenate([batch_source.evaluation['image'], batch_source.test['image']])
  source = datasets.load(SPEC['source'], 'validation')
  digits = {next(iter(shown)) for shown in classes(batch_source, 'validation').values()}
  wanted = [source[i].image for i in range(len(source)) if source[i].label in digits]
  assert sorted(x.tobytes() for x in both) == sorted(x.tobytes() for x in wanted)
  assert len(set(batch_source.evaluation['label'])) == 4  # a mixture, not the first classes


def test_a_number_has_one_batch():
  np.testing.assert_array_equal(load().sample(7)['image'], load().sample(7)['image'])
  every = {'split': {'all': 10}, 'classes': 'all'}  # the same classes whatever the seed
  one, other = load(**every), load(seed=6, **every)
  assert np.any(one.sample(7)['image'] != other.sample(7)['image'])
  assert np.any(one.evaluation['image'] != other.evaluation['image'])


def test_without_images_left_there_is_no_test():
  total = len(load().evaluation['label']) + len(load().test['label'])
  assert load(num_evaluated=total).test is None
  with pytest.raises(InputError, match=f'num_evaluated must be at most {total}'):
    load(num_evaluated=total + 1)


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'classes': 'other'}, "no part of batch_source.split 'other'"),
    ({'num_evaluated': 0}, 'num_evaluated must be .*at least 1'),
    ({'batch_size': 100_000}, 'batch_source.batch_size must be 1 to'),
    ({'source': {'name': 'digit'}}, "mean 'digits'"),
    ({'split': {'new': 11}}, 'batch_source.split asks for 11 classes'),
  ],
)
def test_what_cannot_be_is_refused(changes, says):
  with pytest.raises(InputError, match=says):
    load(**changes)


@pytest.mark.parametrize(('prefix', 'split'), [('train', 'train'), ('t10k', 'validation')])
def test_a_class_without_images_is_refused_where_it_is_used(tmp_path, prefix, split):
  for name in ('train', 't10k'):
    labels = np.array([0, 2, 3, 2, 0] if name == prefix else [3, 1, 2, 0, 1], np.uint8)
    pixels = np.zeros((5, 4, 3), np.uint8)
    (tmp_path / f'{name}-labels-idx1-ubyte').write_bytes(idx_bytes(labels))
    (tmp_path / f'{name}-images-idx3-ubyte').write_bytes(idx_bytes(pixels))
  spec = {'source': {'name': 'idx', 'folder': str(tmp_path)}, 'batch_size': 1, 'num_evaluated': 1}
  assert load(**spec, split={'new': {'first': 1}}).num_classes == 1
  with pytest.raises(
    InputError, match=rf"batch_source\.source, {split}: the class '1' has no exam"
  ):
    load(**spec, split={'new': {'first': 2}})


def test_a_batch_that_the_host_reads_has_random_transforms_for_each_image():
  """As LGL2O's comparisons have them: a step of training draws its own."""
  crop = {'name': 'random_crop', 'size': 28, 'padding': 8}
  feed = blocks.Feed(chunk_steps=1, tasks_at_once=1, threads=1, train=(crop,))
  split = {'all': 10}
  plain, fed = (
    images(3, {'name': 'digits'}, split, 'all', batch_size=40, num_evaluated=10, feed=how)
    for how in (None, feed)
  )
  seen, whole = (x.sample(2)['image'].astype(int) for x in (fed, plain))
  places = {find(part, image) for part, image in zip(seen, whole, strict=True)}
  assert len(places) > 20
  np.testing.assert_array_equal(seen, fed.sample(2)['image'])


def find(part, image):
  """Where a part of an image with a border of 8 pixels was cut out."""
  padded = np.pad(image, ((8, 8), (8, 8), (0, 0)))
  return next(
    (top, left)
    for top in range(17)
    for left in range(17)
    if np.array_equal(padded[top : top + 28, left : left + 28], part)
  )

"""Tasks and batches as positions in a source."""

import numpy as np
import pytest

from datasets.sampler import BatchSampler, TaskSampler
from datasets.source import ArraySource
from l2o.errors import InputError


@pytest.fixture
def sources(rng):
  """Train and validation with 6 classes of unequal sizes."""
  made = []
  for per_class in ([9, 5, 7, 6, 8, 10], [4, 6, 5, 4, 7, 4]):
    labels = rng.permutation(np.repeat(np.arange(6), per_class))
    made.append(ArraySource(np.zeros((len(labels), 2, 2, 1), np.uint8), labels, 'abcdef'))
  return made


def sampler(sources, **changes):
  arguments = {'num_ways': 3, 'batch_size': 4, 'eval_size': 12, 'seed': 5, 'classes': [1, 2, 4, 5]}
  return TaskSampler(*sources, **(arguments | changes))


def test_shapes_and_labels_of_a_draw(sources):
  drawn = sampler(sources).sample(0, num_tasks=2, num_steps=7)
  assert drawn['train']['index'].shape == drawn['train']['label'].shape == (2, 7, 4)
  assert drawn['evaluation']['index'].shape == (2, 12)
  for t in range(2):
    classes = drawn['classes'][t]
    assert len(set(classes)) == 3
    assert set(classes) <= {1, 2, 4, 5}
    for part, source in zip(('train', 'evaluation'), sources, strict=True):
      true = np.array([source[i].label for i in drawn[part]['index'][t].ravel()])
      np.testing.assert_array_equal(true, classes[drawn[part]['label'][t].ravel()])
    assert set(drawn['train']['label'][t].ravel()) == {0, 1, 2}


def test_the_evaluation_batch_has_no_example_twice(sources):
  drawn = sampler(sources).sample(3, num_tasks=4, num_steps=1)
  for index in drawn['evaluation']['index']:
    assert len(set(index)) == 12


def test_a_draw_depends_on_the_seed_and_its_number_alone(sources):
  a, b = sampler(sources), sampler(sources)
  a.sample(7, 2, 3)
  np.testing.assert_array_equal(
    a.sample(1, 2, 3)['train']['index'], b.sample(1, 2, 3)['train']['index']
  )
  assert np.any(a.sample(1, 2, 3)['train']['index'] != a.sample(2, 2, 3)['train']['index'])
  other = sampler(sources, seed=6)
  assert np.any(a.sample(1, 2, 3)['train']['index'] != other.sample(1, 2, 3)['train']['index'])


def test_every_class_is_drawn_about_equally_often(sources):
  drawn = sampler(sources).sample(0, num_tasks=400, num_steps=1)['classes']
  counts = np.array([np.sum(drawn == c) for c in (1, 2, 4, 5)])
  assert np.all(np.abs(counts - 300) < 4 * np.sqrt(400 * 0.75 * 0.25))


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'num_ways': 5}, 'num_ways must be 1 to 4, the classes of the subset, not 5'),
    ({'num_ways': 0}, 'num_ways must be 1 to 4'),
    ({'eval_size': 17}, 'eval_size is 17, but 3 classes may have only 15 .*; lower it to 15'),
    ({'batch_size': 0}, 'must be at least 1'),
  ],
)
def test_what_cannot_be_drawn_is_refused(sources, changes, says):
  with pytest.raises(InputError, match=says):
    sampler(sources, **changes)


def test_a_class_without_training_examples_is_refused(sources):
  empty = ArraySource(np.zeros((2, 2, 2, 1), np.uint8), np.array([0, 1]), 'abcdef')
  with pytest.raises(InputError, match='no training examples'):
    sampler([empty, sources[1]])


def test_batches_go_through_all_examples_before_any_comes_again(sources):
  batches = BatchSampler(sources[0], [0, 3, 5], batch_size=5, seed=1)
  epoch = np.concatenate([batches.sample(i)['index'] for i in range(5)])  # 25 = 9 + 6 + 10
  assert len(set(epoch)) == 25
  second = np.concatenate([batches.sample(i)['index'] for i in range(5, 10)])
  assert set(second) == set(epoch)
  assert np.any(second != epoch)


def test_batches_are_relabelled_in_the_order_of_the_classes(sources):
  drawn = BatchSampler(sources[0], [0, 3, 5], batch_size=25, seed=1).sample(0)
  true = [sources[0][i].label for i in drawn['index']]
  np.testing.assert_array_equal(np.array([0, 3, 5])[drawn['label']], true)


def test_a_batch_is_a_function_of_its_number(sources):
  a, b = (BatchSampler(sources[0], [0, 1], 4, seed=2) for _ in range(2))
  a.sample(0)
  np.testing.assert_array_equal(a.sample(9)['index'], b.sample(9)['index'])


def test_a_batch_larger_than_the_data_is_refused(sources):
  with pytest.raises(InputError, match=r'batch_size must be 1 to 14 \(examples'):
    BatchSampler(sources[0], [0, 1], 15, seed=0)

"""Class splits: disjoint, seeded, complete."""

import numpy as np
import pytest

from datasets.splits import split_classes
from l2o.errors import InputError

SIZES = {'pretrain': 31, 'meta_train': 15, 'meta_test': 16}


def test_parts_are_disjoint_and_complete():
  parts = split_classes(62, SIZES, seed=3)
  assert {name: len(part) for name, part in parts.items()} == SIZES
  np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(62))


def test_the_seed_decides():
  a, b, c = (split_classes(62, SIZES, seed)['meta_test'].tolist() for seed in (0, 0, 1))
  assert a == b != c


def test_what_is_left_over_is_in_no_part():
  parts = split_classes(10, {'pretrain': 3, 'meta_test': 2}, seed=0)
  assert len(np.unique(np.concatenate(list(parts.values())))) == 5


def test_a_split_larger_than_the_data_set_is_refused():
  with pytest.raises(
    InputError, match=r'asks for 62 classes \(pretrain 31.*\), but there are only 61'
  ):
    split_classes(61, SIZES, seed=0)
  with pytest.raises(
    InputError, match=r'class_split\.meta_test must be a whole number of at least 1, not 0'
  ):
    split_classes(61, SIZES | {'meta_test': 0}, seed=0)


def test_the_first_classes_are_those_of_the_data_set():
  parts = split_classes(10, {'meta_train': 3, 'pretrain': {'first': 4}, 'meta_test': 3}, seed=1)
  assert parts['pretrain'].tolist() == [0, 1, 2, 3]
  assert sorted([*parts['meta_train'], *parts['meta_test']]) == [4, 5, 6, 7, 8, 9]
  again = split_classes(10, {'meta_train': 3, 'pretrain': {'first': 4}, 'meta_test': 3}, seed=2)
  assert again['meta_train'].tolist() != parts['meta_train'].tolist()
  with pytest.raises(InputError, match='a and b cannot both have the first'):
    split_classes(10, {'a': {'first': 4}, 'b': {'first': 4}}, seed=1)

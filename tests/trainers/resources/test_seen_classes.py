"""When two sources are of one data set."""

import pytest

from trainers.resources.seen_classes import identity

CIFAR = {'name': 'tfds', 'dataset': 'cifar100'}


@pytest.mark.parametrize(
  ('one', 'other'),
  [
    (CIFAR, {'name': 'tfds', 'dataset': 'cifar100:3.0.2', 'size': 16}),
    ({'name': 'tiny_imagenet'}, {'name': 'tiny_imagenet', 'path': '/somewhere'}),
    ({'name': 'glyphs', 'seed': 0}, {'name': 'glyphs', 'seed': 1}),
    ({'name': 'text', 'path': 'a'}, {'name': 'text', 'path': 'b/../a'}),
    ({'name': 'idx'}, {'name': 'idx', 'folder': '/mnist/'}),
  ],
)
def test_what_is_one_data_set(one, other, monkeypatch):
  monkeypatch.setenv('L2O_IDX_DIR', '/mnist')
  assert identity(one) == identity(other)


@pytest.mark.parametrize(
  ('one', 'other'),
  [
    (CIFAR, {'name': 'tfds', 'dataset': 'cifar10'}),
    ({'name': 'text', 'path': 'a'}, {'name': 'text', 'path': 'b'}),
    ({'name': 'idx'}, {'name': 'idx', 'folder': '/fashion'}),
    ({'name': 'digits'}, {'name': 'glyphs'}),
  ],
)
def test_what_are_two(one, other, monkeypatch):
  monkeypatch.setenv('L2O_IDX_DIR', '/mnist')
  assert identity(one) != identity(other)

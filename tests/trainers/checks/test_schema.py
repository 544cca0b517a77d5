"""Blocks become dataclasses; what is wrong in one is said with its dotted key."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated

import pytest

from configs import common, quickstart
from l2o.arguments import Count
from l2o.errors import InputError
from trainers.checks import blocks
from trainers.checks.schema import parse


@dataclasses.dataclass(frozen=True)
class Leaf:
  size: Annotated[Count, 'of it']
  names: Annotated[Sequence[str], 'of it'] = ()


@dataclasses.dataclass(frozen=True)
class Tree:
  leaf: Annotated[Leaf, 'one']
  more: Annotated[Mapping[str, Leaf], 'by name']
  rows: Annotated[Sequence[Leaf], 'in order']


GOOD = {'leaf': {'size': 2}, 'more': {'a': {'size': 3, 'names': ['x']}}, 'rows': [{'size': 4}]}


def test_blocks_in_blocks_become_dataclasses():
  assert parse(Tree, GOOD, 'c') == Tree(Leaf(2), {'a': Leaf(3, ['x'])}, [Leaf(4)])


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    ({'leaf': {'size': 0}}, r'c\.leaf\.size must be at least 1, not 0'),
    ({'leaf': 3}, r'c\.leaf must be a block of keys, not 3'),
    ({'leaf': {}}, r'c\.leaf needs size'),
    ({'leaf': {'sise': 2}}, r"c\.leaf has no 'sise' \(did you mean 'size'\?\); it takes size"),
    ({'more': {'a': {'size': '3'}}}, r"c\.more\.a\.size must be a whole number of at least 1"),
    ({'more': {'a': {'size': 3, 'names': [5]}}}, r'c\.more\.a\.names\[0\] must be a string'),
    ({'more': [1]}, r'c\.more must be a block of keys'),
    ({'rows': [{'size': 4}, {'size': -1}]}, r'c\.rows\[1\]\.size must be at least 1'),
    ({'rows': {'size': 4}}, r'c\.rows must be a list'),
    ({'branch': 1}, r"c has no 'branch'"),
  ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_key(change, says):
  with pytest.raises(InputError, match=says):
    parse(Tree, GOOD | change, 'c')


def test_a_config_as_dataclasses_is_the_config_as_it_was_written():
  config = common.freeze(quickstart.get_config())
  typed = blocks.pipeline(config)
  assert typed.meta_train.max_steps == config['meta_train']['max_steps']
  assert typed.meta_evaluate.experiments['B'].source == 'digits'
  assert typed.pretrain.starts['main'].number == 0

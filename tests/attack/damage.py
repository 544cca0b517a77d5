"""What may happen to a file, and what a loader may make of it."""

import numpy as np

import l2o
from l2o.artifacts import arrays_file


def flips(content, count=150, seed=0):
  """The content with one bit turned over, here and there; all of its first 64 bytes."""
  places = np.random.default_rng(seed).integers(64 * 8, len(content) * 8, count)
  for place in (*range(0, 64 * 8, 3), *places):
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    yield bytes(changed)


def cuts(content, count=30):
  for size in np.linspace(0, len(content) - 1, count).astype(int):
    yield content[:size]
  yield content + b'\0'


def outcome(load):
  """What was loaded, or None if it was refused in one sentence."""
  try:
    return load()
  except l2o.InputError as error:
    if '\n' in str(error) or len(str(error)) > 700:
      raise AssertionError('this is not one sentence') from error
    return None


def same(one, other):
  trees = [dict(arrays_file.leaves(tree)) for tree in (one, other)]
  return trees[0].keys() == trees[1].keys() and all(
    np.array_equal(trees[0][keys], trees[1][keys]) for keys in trees[0]
  )

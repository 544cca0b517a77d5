"""What a compiled program needs of each device: memory, operations, and traffic with others."""

import collections
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from l2o.types import PyTree
from trainers.plan.hlo import repeated

KINDS = ('all-gather', 'all-reduce', 'all-to-all', 'collective-permute', 'reduce-scatter')
# XLA writes `%name = SHAPE KIND(operands)`; on TPUs split into `KIND-start` and `KIND-done`.
COLLECTIVE = re.compile(rf'= (.+?) ({"|".join(KINDS)})(?:-start)?\(')
LAYOUT = re.compile(r'\{[^{}]*\}')
ARRAY = re.compile(r'\b([a-z]+[0-9]+|pred)\[([\d,]*)\]')
BITS = re.compile(r'\d+')


class Analysis(NamedTuple):
  """What a program needs of one device, in bytes and operations."""

  arguments: int
  outputs: int
  temporaries: int
  peak: int  # arguments, outputs and temporaries together; a donated argument is also an output
  operations: float  # a loop of unknown length counts once
  accessed: float  # bytes read and written; a loop counts once
  collectives: Mapping[tuple[str, str], int]  # (kind, shape of the result) -> how often


def analyse(compiled: jax.stages.Compiled) -> Analysis:
  """What the compiler reports about a program."""
  memory: Any = compiled.memory_analysis()
  cost: Any = compiled.cost_analysis() or {}
  text = compiled.as_text() or ''
  sizes = memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
  return Analysis(
    *sizes,
    sum(sizes) - memory.alias_size_in_bytes,
    cost.get('flops', 0.0) + repeated(text),
    cost.get('bytes accessed', 0.0),
    collectives(text),
  )


def collectives(text: str) -> dict[tuple[str, str], int]:
  """The collectives in the text of a compiled program.

  Example:
    >>> collectives('%a = f32[8]{0} all-gather(%b), dimensions={0}')
    {('all-gather', 'f32[8]'): 1}
  """
  found = ((kind, LAYOUT.sub('', shape)) for shape, kind in COLLECTIVE.findall(text))
  return dict(collections.Counter(found))


def size_of(shape: str) -> int:
  """The bytes of a shape as XLA writes it; for a tuple, the sum over its parts.

  Example:
    >>> size_of('(f32[2,3], bf16[4], pred[])')
    33
  """
  total = 0
  for kind, sides in ARRAY.findall(shape):
    bits = BITS.search(kind)
    width = int(bits[0]) // 8 if bits else 1
    total += width * int(np.prod([int(side) for side in sides.split(',') if side]))
  return total


def size(shapes: PyTree) -> int:
  """The bytes of arrays of these shapes; a random key takes four bytes per word.

  Example:
    >>> size({'image': np.zeros((2, 3), np.uint8), 'key': jax.random.key(0)})
    14
  """
  total = 0
  for x in jax.tree.leaves(shapes):
    key = jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)
    width = 8 if key else np.dtype(x.dtype).itemsize  # threefry's keys are two words
    total += math.prod(x.shape) * width
  return total


def on_a_device(shapes: PyTree) -> int:
  """The bytes of one device's share of arrays of these shapes, which have shardings."""

  def own(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    held = x.shape if x.sharding is None else x.sharding.shard_shape(x.shape)
    return jax.ShapeDtypeStruct(held, x.dtype)

  return size(jax.tree.map(own, shapes))

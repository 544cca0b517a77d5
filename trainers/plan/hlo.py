"""Reads the text of a compiled program: how often each instruction is executed, and what it does.

The compiler counts the body of a loop once. The program says how often a loop of known length runs:
in the compiler's annotation or, on TPUs, by the bound of the loop's counter, which begins at 0 in
loops that JAX makes.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

HEAD = re.compile(r'^(ENTRY )?%?([\w.-]+) (?:\(.*)?\{$')
INSTRUCTION = re.compile(r'^\s+(?:ROOT )?%?([\w.-]+) = (.+?) ([\w-]+)\((.*)$')
LAYOUT = re.compile(r'\{[^{}]*\}')
SIDES = re.compile(r'\[([\d,]*)\]')
OPERAND = re.compile(r'%([\w.-]+)')
CALLED = re.compile(r'(?:calls|to_apply|body|condition)=%?([\w.-]+)')
CONDITION = re.compile(r'condition=%?([\w.-]+)')
BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
BOUND = re.compile(r'^(\d+)\)')
CONTRACTED = re.compile(r'lhs_contracting_dims=\{([\d,]*)\}')
LABELS = re.compile(r'dim_labels=(\w+)_(\w+)->(\w+)')
WINDOW = re.compile(r'window=\{([^}]*)\}')
# What XLA counts as one operation per entry; functions such as exp are counted separately.
ARITHMETIC = {
  'abs', 'add', 'and', 'clamp', 'compare', 'divide', 'floor', 'maximum', 'minimum', 'multiply',
  'negate', 'not', 'or', 'remainder', 'round-nearest-even', 'select', 'sign', 'subtract', 'xor',
}  # fmt: skip


class Instruction(NamedTuple):
  """One line of a program."""

  name: str
  shape: str
  kind: str
  rest: str  # operands and attributes


Computations = dict[str, list[Instruction]]


def executions(text: str) -> Iterator[tuple[Instruction, int, Mapping[str, str]]]:
  """The instructions of a program, each with how often a call executes it.

  A loop of unknown length counts once, and so does each branch of a conditional.

  Args:
    text: the program, as `jax.stages.Compiled.as_text` returns it.

  Returns:
    An iterator over (instruction, times, name -> shape in the same computation).
  """
  found, entry = _computations(text)
  for name, times in _times(found, entry).items():
    shapes = {one.name: one.shape for one in found[name]}
    for one in found[name]:
      yield one, times, shapes


def repeated(text: str) -> float:
  """Operations of all loop steps except the first, which the compiler counts already.

  Example:
    >>> import jax
    >>> def powers(x):
    ...   return jax.lax.scan(lambda y, _: (y @ y, None), x, length=7)[0]
    >>> program = jax.jit(powers).lower(jax.numpy.ones((64, 64))).compile()
    >>> round(repeated(program.as_text()) / (2 * 64**3), 2)
    6.0
  """
  looped = ((one, times, shapes) for one, times, shapes in executions(text) if times > 1)
  return float(sum((times - 1) * _operations(one, shapes) for one, times, shapes in looped))


def _computations(text: str) -> tuple[Computations, str]:
  """The computations by name, and the name of the entry computation."""
  found: Computations = {}
  entry = name = ''
  for line in text.splitlines():
    if head := HEAD.match(line):
      name = head[2]
      entry = name if head[1] else entry
      found[name] = []
    elif (match := INSTRUCTION.match(line)) and name:
      found[name].append(Instruction(*match.groups()))
  return found, entry


def _times(found: Computations, entry: str) -> dict[str, int]:
  """How often a call of the program executes each computation; callers come first."""
  times = dict.fromkeys(found, 0)
  if not entry:
    return times
  times[entry] = 1
  for name in _callers_first(found, entry):
    for one in found[name]:
      trips = _trips(found, one) if one.kind == 'while' else 1
      for called in _called(one):
        times[called] += times[name] * trips
  return times


def _trips(found: Computations, loop: Instruction) -> int:
  """How often a loop runs; 1 if that is not known."""
  if remark := TRIPS.search(loop.rest):
    return int(remark[1])
  (condition,) = CONDITION.findall(loop.rest)
  kinds = {one.name: one for one in found[condition]}
  compared = [one for one in found[condition] if one.kind == 'compare']
  if len(compared) != 1 or 'direction=LT' not in compared[0].rest:
    return 1
  bound = kinds.get(OPERAND.findall(compared[0].rest)[1])
  number = BOUND.match(bound.rest) if bound and bound.kind == 'constant' else None
  return int(number[1]) if number else 1


def _callers_first(found: Computations, entry: str) -> list[str]:
  order: list[str] = []
  seen: set[str] = set()

  def visit(name: str) -> None:
    if name in seen:
      return
    seen.add(name)
    for one in found[name]:
      for called in _called(one):
        visit(called)
    order.append(name)

  visit(entry)
  return order[::-1]


def _called(one: Instruction) -> list[str]:
  named = CALLED.findall(one.rest)
  for branches in BRANCHES.findall(one.rest):
    named += OPERAND.findall(branches)
  return named


def _operations(one: Instruction, shapes: Mapping[str, str]) -> int:
  """Multiplications and additions of one instruction, without what it calls."""
  if one.kind in ARITHMETIC:
    return math.prod(_sides(one.shape))
  if one.kind not in ('dot', 'convolution', 'reduce'):
    return 0
  operands = [_sides(shapes.get(name, '')) for name in OPERAND.findall(one.rest)[:2]]
  if one.kind == 'reduce':
    return math.prod(operands[0])
  if one.kind == 'convolution':
    return _convolution(one, *operands)
  contracted = CONTRACTED.search(one.rest)
  axes = contracted[1].split(',') if contracted and contracted[1] else []
  return 2 * math.prod(_sides(one.shape)) * math.prod(operands[0][int(axis)] for axis in axes)


def _convolution(one: Instruction, image: list[int], kernel: list[int]) -> int:
  """Operations of a convolution, without those on padding and the zeros of dilation.

  So a batched matrix product, which a TPU writes as a convolution over the batch, counts right.
  """
  labels, window = LABELS.search(one.rest), WINDOW.search(one.rest)
  if labels is None:
    return 0
  sizes = [
    dict(zip(*pair, strict=False))
    for pair in zip(labels.groups(), (image, kernel, _sides(one.shape)), strict=True)
  ]
  of_image, of_kernel, out = sizes
  fields = dict(field.split('=') for field in window[1].split()) if window else {}
  total = 2 * out['b'] * out['f'] * of_kernel['i']
  for axis in sorted(name for name in out if name.isdigit()):
    total *= _met(fields, int(axis), of_image[axis], of_kernel[axis], out[axis])
  return total


def _met(fields: Mapping[str, str], axis: int, image: int, kernel: int, out: int) -> int:
  """Pairs (output, kernel entry) on one axis that read an entry of the image."""

  def field(name: str, default: str) -> str:
    return fields[name].split('x')[axis] if name in fields else default

  stride, apart = int(field('stride', '1')), int(field('rhs_dilate', '1'))
  spread, before = int(field('lhs_dilate', '1')), int(field('pad', '0_0').split('_')[0])
  last = (image - 1) * spread
  places = (o * stride + k * apart - before for o in range(out) for k in range(kernel))
  return sum(0 <= place <= last and place % spread == 0 for place in places)


def _sides(shape: str) -> list[int]:
  """The sides of an array; a scalar has none."""
  match = SIDES.search(LAYOUT.sub('', shape))
  return [int(side) for side in match[1].split(',')] if match and match[1] else []

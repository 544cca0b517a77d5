"""A run's plan as text: what each program needs, and what the run takes in total."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from l2o.errors import first_line
from l2o.types import PyTree
from trainers.plan.analysis import Analysis, analyse, size, size_of
from trainers.plan.program import Program, sharing
from trainers.resources import memory

REMEDY = (
  'spread batches (mesh.data), place parameters (train.placement), let the host feed the images '
  "(feed.chunk_steps), map one by one (mapping='sequential'), or evaluate on fewer examples and "
  'fewer at a time (batch_source.num_evaluated, task.evaluated_at_once)'
)
UTILISATION = 0.3  # of a device's peak, to estimate the time
# Operations a second in bfloat16, from the makers' data sheets.
PEAKS = {
  'TPU v4': 275e12, 'TPU v5 lite': 197e12, 'TPU v5e': 197e12, 'TPU v5': 459e12, 'TPU v5p': 459e12,
  'TPU v6 lite': 918e12, 'TPU v6e': 918e12, 'NVIDIA H100': 989e12, 'NVIDIA A100': 312e12,
}  # fmt: skip


def make(programs: Iterable[Program], device: jax.Device) -> None:
  """Compiles the programs, one after another, and prints what they need of such a device."""
  there = memory.device_bytes(device)
  print(f'[plan] devices: {device.device_kind}, {_bytes(there)} of memory each', flush=True)
  total, whole = 0.0, True
  for program in programs:
    print(f'[plan] compiling {_title(program)}', flush=True)
    lines, operations = describe(program, there, device.device_kind)
    print('\n'.join(lines), flush=True)
    if operations is None:
      whole = False
    else:
      total += operations * program.calls * program.mesh.size  # copies are busy too
  what = 'in all' if whole else 'of those that fit'
  print(f'[plan] {what}: {_count(total)} operations{_hours(total, device.device_kind)}')


def describe(program: Program, there: int, kind: str) -> tuple[list[str], float | None]:
  """Lines on one program, and the operations of one call on one device; None if it does not fit.

  Args:
    program: the program, which is compiled here.
    there: bytes of memory on a device.
    kind: the kind of device, as JAX names it.
  """
  try:
    found = analyse(program.lowered.compile())
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    said = f'  a device has not enough memory ({first_line(error)}): {REMEDY}'
    return [_title(program), *_parts(program), said], None
  counted, times = found, 1.0
  if program.loop:  # the compiler counts its body once; the rest is negligible
    counted = analyse(program.loop.lowered.compile())
    times = program.loop.times / sharing(program.mesh)
  operations = counted.operations * times
  moved = f'{_bytes(counted.accessed * times)} read and written'
  how = f' ({times:,.6g} x the body of its loop)' if program.loop else ''
  peak = found.peak + sum(program.resident.values())
  lines = [_title(program), *_parts(program)]
  lines.append(f'  a device: {_memory(found, program.resident, peak)}{_fit(peak, there)}')
  lines.append(f'  a call on a device: {_count(operations)} operations, {moved}{how}')
  lines.append(f'  between devices: {_traffic(found)}')
  if program.examples:
    rate = _rate(program.examples, operations, kind)
    lines.append(f'  trains on {program.examples:,} examples a call{rate}')
  return lines, operations


def _title(program: Program) -> str:
  times = 'once' if program.calls == 1 else f'{program.calls:,} times'
  return f'{program.stage}: {program.name}, {times} on {_shape(program)}'


def _parts(program: Program) -> list[str]:
  lines = [', '.join(f'{name} {_size(shapes)}' for name, shapes in program.shapes.items())]
  if jax.tree.leaves(program.saved):
    lines.append(f'a checkpoint: {_bytes(size(program.saved))} of arrays')
  return [f'  {line}' for line in lines]


def _shape(program: Program) -> str:
  wide = [f'{axis} {count}' for axis, count in program.mesh.shape.items() if count > 1]
  return f'a mesh of {" x ".join(wide)}' if wide else 'one device'


def _size(shapes: PyTree) -> str:
  numbers = sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))
  return f'{numbers:,} ({_bytes(size(shapes))})'


def _memory(found: Analysis, resident: Mapping[str, int], peak: int) -> str:
  parts = {name: getattr(found, name) for name in ('arguments', 'outputs', 'temporaries')}
  listed = [f'{name} {_bytes(x)}' for name, x in parts.items()]
  listed += [f'{name} beside them {_bytes(x)}' for name, x in resident.items()]
  return f'{", ".join(listed)}, peak {_bytes(peak)}'


def _fit(peak: int, there: int) -> str:
  if peak <= there:
    share = peak / there
    return f', {share:.1%} of what it has' if share > 1e-3 else ', less than 0.1% of what it has'
  return f', which it does not have: {REMEDY}'


def _traffic(found: Analysis) -> str:
  if not found.collectives:
    return 'nothing'
  times: dict[str, int] = {}
  sizes: dict[str, int] = {}
  for (kind, shape), count in sorted(found.collectives.items()):
    times[kind] = times.get(kind, 0) + count
    sizes[kind] = sizes.get(kind, 0) + count * size_of(shape)
  listed = (f'{times[kind]} x {kind}, {_bytes(sizes[kind])}' for kind in times)
  return '; '.join(listed) + ' (once a loop)'


def _peak(kind: str) -> float | None:
  return next((x for name, x in sorted(PEAKS.items(), reverse=True) if name in kind), None)


def _rate(examples: int, operations: float, kind: str) -> str:
  """Examples per second, which the input must deliver."""
  peak = _peak(kind)
  if peak is None or not operations:
    return ''
  return (
    f', {_count(examples * UTILISATION * peak / operations)} a second at {UTILISATION:.0%} of peak'
  )


def _hours(operations: float, kind: str) -> str:
  peak = _peak(kind)
  if peak is None:
    return f'; no peak is known for {kind}, so no time'
  hours = operations / (UTILISATION * peak) / 3600
  return f', {hours:.3g} device-hours at {UTILISATION:.0%} of the peak of {peak / 1e12:.0f} TFLOP/s'


def _count(number: float) -> str:
  for scale, name in ((1e15, ' P'), (1e12, ' T'), (1e9, ' G'), (1e6, ' M')):
    if number >= scale:
      return f'{number / scale:.3g}{name}'
  return f'{number:,.0f}'


def _bytes(number: Any) -> str:
  for scale, name in ((1e15, 'PB'), (1e12, 'TB'), (1e9, 'GB'), (1e6, 'MB'), (1e3, 'kB')):
    if number >= scale:
      return f'{number / scale:.3g} {name}'
  return f'{number:.0f} B'

"""The memory that `--plan` announces against what a process takes.

python -m benchmarks.plan_memory

Programs on one device of this machine, with black images in place of data, each in its own
process: the peak according to `--plan`, and the most memory that the process held while its
arguments were allocated and the program ran, less what it held before, as Linux counts it (VmHWM).
"""

import gc
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
from absl import app, flags, logging

from configs import common, l3rs_cifar100, l3rs_paper

_NAME = flags.DEFINE_string('name', '', 'Set by this program: what one process measures.')

STATUS = pathlib.Path('/proc/self/status')
MEGA = 1e6
Call = Callable[[], Any]  # runs a program once on new arguments


def resnet_34() -> dict[str, Any]:
  """A pretraining step of the ResNet-34 at 224 pixels."""
  c = l3rs_paper.get_config('blank')
  c.pretrain.update(batch_size=32)
  return _alone(c)


def resnet_8() -> dict[str, Any]:
  """CIFAR-100 on the device, and a step with a large batch."""
  c = l3rs_cifar100.get_config('blank')
  c.pretrain.update(batch_size=2048)
  return _alone(c)


def _alone(c: Any) -> dict[str, Any]:
  c.cpu_devices = 1
  return common.freeze(c)


PROGRAMS = {'l3rs_paper: pretraining, batch 32': resnet_34,
            'l3rs_cifar100: pretraining, batch 2,048': resnet_8}  # fmt: skip


def measure(config: dict[str, Any]) -> dict[str, float]:
  """Announced and measured bytes."""
  from trainers.jobs import pipeline
  from trainers.plan.analysis import analyse
  from trainers.resources import meshes
  from trainers.stages import training

  meshes.set_cpu_devices(1)
  plan = pipeline.build(config).pretrain['main']
  compiled = training.lower(plan).compile()
  announced = analyse(compiled).peak
  training.prepare(plan).close()  # compiles what makes the initial state
  gc.collect()
  before = _memory('VmRSS')
  pathlib.Path('/proc/self/clear_refs').write_text('5')  # resets the peak
  ready = training.prepare(plan)
  batch = ready.feed(0)
  state, _ = compiled(ready.state, batch, ready.given)
  jax.block_until_ready(state)
  measured = _memory('VmHWM') - before
  ready.close()
  return {'announced': announced, 'measured': measured}


def _memory(field: str) -> float:
  """The bytes of this process in a field of its status."""
  lines = dict(line.split(':', 1) for line in STATUS.read_text().splitlines())
  return 1024 * float(lines[field].split()[0])


def main(_: Any) -> None:
  """Measures all programs, or one of them in its own process."""
  logging.set_verbosity(logging.WARNING)
  if _NAME.value:
    print(json.dumps(measure(PROGRAMS[_NAME.value]())))
    return
  print('| program | announced | measured | ratio |\n|---|---|---|---|')
  for name in PROGRAMS:
    command = [sys.executable, *sys.orig_argv[1:], f'--name={name}']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    announced, measured = (found[key] / MEGA for key in ('announced', 'measured'))
    print(f'| {name} | {announced:,.0f} MB | {measured:,.0f} MB | {announced / measured:.2f} |')


if __name__ == '__main__':
  app.run(main)

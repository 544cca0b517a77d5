"""A generation of the quickstart's meta-training over devices and processes of one machine.

python -m benchmarks.processes [--rounds=3]

Each layout (processes x devices per process, and how many devices split a batch) runs in its own
processes over loopback, one after another. In each round every layout takes some generations of
equal length with a donated state; the table has medians over rounds, as ratios to one device.
"""

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags, logging

from configs import common, quickstart
from trainers.processes import flags as processes
from trainers.processes import start

K, GENERATIONS = 20, 5


class Layout(NamedTuple):
  """How devices are spread over processes."""

  processes: int
  devices: int  # of each process
  data: int = 1  # devices that split a batch


LAYOUTS = [
  Layout(1, 1),
  Layout(1, 2),
  Layout(1, 4),
  Layout(2, 1),
  Layout(2, 2),
  Layout(1, 2, data=2),
  Layout(2, 1, data=2),
]
_ROUNDS = flags.DEFINE_integer('rounds', 3, 'Measurements of each layout.')
_LAYOUT = flags.DEFINE_string('layout', '', 'Set by this program: what one process measures.')
processes.define()


def config(layout: Layout) -> dict[str, Any]:
  """The quickstart, with every generation of the same length."""
  c = quickstart.get_config()
  c.cpu_devices = layout.processes * layout.devices
  c.meta_train.update(min_steps=K, max_steps=K)
  c.meta_train.mesh = {'population': -1, 'data': layout.data}
  return common.freeze(c)


def measure(layout: Layout) -> None:
  """Measures the seconds per generation; process 0 prints them."""
  from trainers.jobs import pipeline
  from trainers.processes import arrays
  from trainers.resources import meshes
  from trainers.stages import meta_training

  meshes.set_cpu_devices(layout.processes * layout.devices)
  plan = pipeline.build(config(layout)).meta_train
  shapes = jax.eval_shape(plan.task.init, jax.random.key(0))
  network = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  whole = meshes.replicated(plan.mesh)
  pretrained, stores = arrays.put((network, plan.stores), whole)
  advance, state = meta_training.generation(plan), meta_training.init(plan)
  inputs = meta_training.place(meta_training.draw(plan, 0), plan.mesh)
  for number in range(GENERATIONS + 1):
    if number == 1:  # the first one compiles
      begun = time.perf_counter()
    state, metrics = advance(state, inputs, pretrained, stores)
    jax.block_until_ready(metrics)
  print(json.dumps({'seconds': (time.perf_counter() - begun) / GENERATIONS}))


def seconds(layout: Layout) -> float:
  """Starts a layout's processes and returns what they measured."""
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    port = probe.getsockname()[1]
  command = [sys.executable, *sys.orig_argv[1:], f'--layout={json.dumps(layout)}']
  named = [f'--coordinator=127.0.0.1:{port}', f'--num_processes={layout.processes}']
  group = [
    subprocess.Popen([*command, *named, f'--process_id={i}'], stdout=subprocess.PIPE, text=True)
    for i in range(layout.processes)
  ]
  outputs = [process.communicate()[0] for process in group]
  if any(process.returncode for process in group):
    raise SystemExit(f'{layout} failed; what it wrote is above')
  last = outputs[0].strip().splitlines()[-1]
  return json.loads(last)['seconds']


def table(found: Mapping[Layout, float]) -> str:
  """Markdown: seconds and ratios to the first layout."""
  lines = ['| processes | devices of each | data | generation | ratio |', '|---|---|---|---|---|']
  first = next(iter(found.values()))
  for layout, secs in found.items():
    cells = (*layout, f'{secs:.2f} s', f'{secs / first:.2f}')
    lines.append(f'| {" | ".join(map(str, cells))} |')
  return '\n'.join(lines)


def main(_: Any) -> None:
  """Measures all layouts, or one of them in a process that `seconds` started."""
  logging.set_verbosity(logging.WARNING)
  if _LAYOUT.value:
    layout = Layout(*json.loads(_LAYOUT.value))
    start.launch(processes.asked(), lambda: measure(layout), {})
    return
  found: dict[Layout, list[float]] = {layout: [] for layout in LAYOUTS}
  for _ in range(_ROUNDS.value):
    for layout, measured in found.items():
      measured.append(seconds(layout))
  print(table({layout: statistics.median(measured) for layout, measured in found.items()}))


if __name__ == '__main__':
  app.run(main)

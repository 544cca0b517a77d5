"""The cost of a training step with each optimizer of a sweep, relative to its first row.

python -m benchmarks.sweep_step --config=configs/hub_siren.py:celo=theta.msgpack [--rounds=30]

The jobs of the config's rows, with its network, batches and devices. The state is donated, all
jobs take turns in one run, and medians are taken over rounds. Batches lie on the host, as in the
job.
"""

import time
from typing import Any

import jax
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from configs import common
from trainers.jobs import training_job
from trainers.resources import meshes
from trainers.stages import training

_CONFIG = config_flags.DEFINE_config_file('config', lock_config=True)
_ROUNDS = flags.DEFINE_integer('rounds', 30, 'Steps of each optimizer that are timed.')


def prepared(config: dict[str, Any]) -> dict[str, training.Ready]:
  """Label of each row -> its job."""
  alone = config | {'sweep': [], 'first': []}
  return {
    row['table']: training.prepare(training_job.build(common.with_diff(alone, row['diff'])).plan)
    for row in config['sweep']
  }


def main(_: Any) -> None:
  """Measures and prints the results."""
  config = common.freeze(_CONFIG.value)
  meshes.set_cpu_devices(config['cpu_devices'])
  jobs = prepared(config)
  states = {label: ready.state for label, ready in jobs.items()}
  times: dict[str, list[float]] = {label: [] for label in jobs}
  for number in range(_ROUNDS.value + 1):  # the first compiles
    for label, ready in jobs.items():
      batches = ready.feed(number)
      begun = time.perf_counter()
      states[label], _ = jax.block_until_ready(ready.step(states[label], batches))
      times[label].append(time.perf_counter() - begun)
  median = {label: 1e3 * float(np.median(values[1:])) for label, values in times.items()}
  first = next(iter(median.values()))
  print(f'| {"optimizer":24} | ms a step | over the first |\n|---|---|---|')
  for label, value in median.items():
    print(f'| {label:24} | {value:9.2f} | {value / first:14.2f} |')


if __name__ == '__main__':
  app.run(main)

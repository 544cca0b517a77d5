"""The tiny pipeline, for main.py.

Arguments: 'fed', the host feeds its images; 'long', on three devices, to be interrupted.
"""

from ml_collections import ConfigDict

from tests.tiny_run import tiny

DIFFS = {
  '': {'cpu_devices': 4},
  'fed': {'cpu_devices': 4, 'feed.chunk_steps': 2, 'feed.tasks_at_once': 3},
  'long': {'cpu_devices': 3, 'meta_train.num_generations': 800, 'meta_train.max_steps': 20},
}


def get_config(arg: str = '') -> ConfigDict:
  return ConfigDict(tiny(checkpoint_every_secs=0.0, **DIFFS[arg]))

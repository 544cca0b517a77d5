"""The tiny pipeline, for main.py; with the argument 'fed' the host feeds its images."""

from ml_collections import ConfigDict

from tests.tiny_run import tiny

FED = {'feed.chunk_steps': 2, 'feed.tasks_at_once': 3}


def get_config(arg: str = '') -> ConfigDict:
  fed = FED if arg == 'fed' else {}
  return ConfigDict(tiny(cpu_devices=4, checkpoint_every_secs=0.0, **fed))

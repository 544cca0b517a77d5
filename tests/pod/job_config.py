"""A training job with batches and a kernel spread over four devices, for main.py.

With the argument 'idx' its images come from a folder that the environment names.
"""

from ml_collections import ConfigDict

from tests.tiny_run import tiny_job

IMAGES = {
  'name': 'images',
  'source': {'name': 'glyphs', 'per_font': 1},
  'split': {'train': 10},
  'classes': 'train',
  'batch_size': 16,
  'num_evaluated': 40,
}
IDX = {**IMAGES, 'source': {'name': 'idx'}, 'split': {'train': 2}, 'num_evaluated': 4}


def get_config(arg: str = '') -> ConfigDict:
  images = IDX if arg == 'idx' else IMAGES
  diff = {
    'cpu_devices': 4,
    'checkpoint_every_secs': 0.0,
    'batch_source': images,
    'model': {'name': 'mlp', 'features': (8,)},
    'task': {'name': 'classification'},
    'rule': {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 0.01},
    'train.num_steps': 12,
    'train.eval_every': 4,
    'train.mesh': {'data': 2, 'model': 2},
    'train.placement': (('Dense_0/kernel', (None, 'model')),),
  }
  return ConfigDict(tiny_job(**diff))

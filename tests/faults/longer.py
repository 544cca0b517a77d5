"""The tiny pipeline and training job made longer, and the quickstart, saved after every step.

So that a signal at a random time finds them in any of their stages.
"""

from ml_collections import ConfigDict

from configs import common, quickstart
from tests.tiny_run import tiny, tiny_job

SAVING = {'checkpoint_every_secs': 0.0, 'cpu_devices': 2}
JOB = SAVING | {'train.num_steps': 120, 'train.log_every': 10, 'train.eval_every': 30}
PIPELINE = SAVING | {
  'pretrain.num_steps': 20,
  'meta_train.num_generations': 10,
  'meta_evaluate.num_tasks': 6,
}


def get_config(arg=''):
  """Arguments: `job`, the training job; `quickstart`, the quickstart's smoke run."""
  args = common.parse(arg, job=False, quickstart=False)
  if args.quickstart:
    c = quickstart.get_config('smoke')
    c.checkpoint_every_secs = 0.0
    return c
  return ConfigDict(tiny_job(**JOB) if args.job else tiny(**PIPELINE))

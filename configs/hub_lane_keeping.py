"""Steer a small car by its camera, with CNN + LSTM or CNN + LTC: HUB, at CPU scale.

python main.py --config=configs/hub_lane_keeping.py --workdir=runs/lane_keeping     # 20 runs
python main.py --config=configs/hub_lane_keeping.py:smoke --workdir=runs/smoke      # minutes
python main.py --config=configs/hub_lane_keeping.py:model=ltc --workdir=runs/ltc
python main.py --config=configs/hub_lane_keeping.py:weights=lite0.safetensors --workdir=runs/lite0

The optimizers of arXiv 2305.16823 on its lane-keeping task: Adam (0.001, x 0.3 every 100 of 200
steps; the paper runs 5,000, decays every 300 and starts at 0.01, where the network only learns a
constant here), a learned optimizer alone, in LGL2O and in HUB. For the frames or videos, in
L2O_LANE_KEEPING, see datasets/lane_keeping.py. The learned optimizer is Celo if `celo=FILE` names
its released weights, otherwise `velo-quickstart`.

With `weights=FILE` the question changes: does an encoder that others pretrained help? FILE is an
EfficientNet-Lite0 trained on ImageNet (docs/howto/pretrained.md), which sees frames at 96 x 96.
Adam trains the recurrent network alone at three rates, or everything at a low rate, for 60 steps
with a cosine, compared with the paper's network trained from scratch for 200.
"""

from ml_collections import ConfigDict

from configs import common
from l2o.errors import InputError
from l2o.registry import choose

RECURRENT = {
  'lstm': {'name': 'lstm', 'num_outputs': 1, 'features': 64},
  'ltc': {'name': 'ltc', 'num_outputs': 1, 'units': 19, 'sparsity_level': 0.75},
}
ADAM = {
  'name': 'hand_designed',
  'optimizer': 'adam',
  'schedule': {'name': 'step', 'every': 100, 'factor': 0.3},
  'learning_rate': 1e-3,
}
UNIT = 10.0  # degrees
SIZE = 96  # height and width at which a pretrained encoder sees the frames


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke`, `model=ltc`, `celo=FILE` or `weights=FILE`."""
  args = common.parse(arg, smoke=False, model='lstm', celo='', weights='')
  c = common.train_base()
  c.batch_source = {
    'name': 'lane_keeping', 'path': '', 'num_steps': 11, 'batch_size': 2, 'unit': UNIT,
    'wheel': 'radians', 'on_bad_record': 'error',
  }  # fmt: skip
  recurrent = RECURRENT[choose(args.model, RECURRENT, 'model')]
  c.model = {'name': 'lane_keeping', 'recurrent': recurrent}
  c.task = {'name': 'regression', 'scale': UNIT}
  c.train.update(num_steps=200, log_every=10, eval_every=20)
  c.rule = ADAM
  c.sweep, c.sweep_seeds = common.hub_rows(ADAM, args.celo), (0, 1, 2, 3, 4)
  if args.smoke:
    c.batch_source.update(num_steps=2, batch_size=1)
    c.train.update(num_steps=2, log_every=1, eval_every=1)
    c.sweep_seeds = (0,)
  if args.weights:
    _start_from_weights(c, args)
  return c


def _start_from_weights(c: ConfigDict, args: ConfigDict) -> None:
  if args.celo:
    raise InputError('celo has no effect beside weights; leave one of them out')
  scratch = {'model': c.model.to_dict(), 'task': c.task.to_dict(), 'rule': ADAM}
  scratch |= {'batch_source.pixels': False, 'start': ''}
  scratch |= {f'train.{key}': c.train[key] for key in ('num_steps', 'eval_every')}
  c.model.encoder = {'name': 'efficientnet_lite0'}
  c.batch_source.pixels = True
  c.task.preprocessing = {'size': SIZE}
  c.start = args.weights
  steps, every = c.train.num_steps, c.train.eval_every
  c.train.update(num_steps=min(steps, 60), eval_every=min(every, 10))
  adam = {**ADAM, 'schedule': 'cosine'}
  recurrent = {**adam, 'trainable': 'head', 'head': 'recurrent'}
  rules = {
    f'recurrent {rate:g}': {**recurrent, 'learning_rate': rate} for rate in (1e-2, 3e-3, 1e-3)
  }
  rules['all 0.0001'] = {**adam, 'learning_rate': 1e-4}
  rows = [common.sweep_row(name, None, {'rule': rule}) for name, rule in rules.items()]
  c.sweep = [*rows, common.sweep_row('scratch', None, scratch)]

"""Steer a small car by its camera, with CNN + LSTM or CNN + LTC: HUB, at a CPU's scale.

python main.py --config=configs/hub_lane_keeping.py --workdir=runs/lane_keeping     # 20 runs
python main.py --config=configs/hub_lane_keeping.py:smoke --workdir=runs/smoke      # minutes
python main.py --config=configs/hub_lane_keeping.py:model=ltc --workdir=runs/ltc

The optimizers of arXiv 2305.16823 on its lane-keeping task: Adam (0.001, x 0.3 every 100 of 200
steps; the paper runs 5,000, decays every 300 and starts at 0.01, where the network only learns a
constant here), a learned optimizer alone, with LGL2O and in HUB. For the frames, in
L2O_LANE_KEEPING, see datasets/lane_keeping.py. The learned optimizer is Celo if `celo=FILE` names
its released weights, otherwise `velo-quickstart`.
"""

from ml_collections import ConfigDict

from configs import common
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


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke`, `model=ltc`, `celo=FILE`."""
  args = common.parse(arg, smoke=False, model='lstm', celo='')
  c = common.train_base()
  c.batch_source = {
    'name': 'lane_keeping', 'path': '', 'num_steps': 11, 'batch_size': 2, 'unit': UNIT,
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
  return c

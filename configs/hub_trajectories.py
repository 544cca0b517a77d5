"""Fit trajectories with an LTC network or a neural ODE: HUB, at CPU scale.

python main.py --config=configs/hub_trajectories.py --workdir=runs/trajectories    # 30 runs
python main.py --config=configs/hub_trajectories.py:smoke --workdir=runs/smoke     # minutes
python main.py --config=configs/hub_trajectories.py:model=neural_ode,noise=0.1 --workdir=runs/ode

The optimizers of arXiv 2305.16823 on its trajectory task: Adam (0.01), a learned optimizer alone,
in LGL2O, in HUB, and with both re-initialisation policies. Curves and lengths are ours. The
learned optimizer is Celo if `celo=FILE` names its released weights, otherwise `velo-quickstart`;
`celo2=FILE` adds rows with the released Celo2, `tuned` rows with Adam at four rates that decay to
zero.
"""

from ml_collections import ConfigDict

from configs import common
from l2o.registry import choose

MODELS = {
  'ltc': ({'name': 'ltc', 'num_outputs': 1, 'units': 8}, {'name': 'sines'}),
  'neural_ode': (
    {'name': 'neural_ode', 'features': (32, 32), 'max_steps': 4096},  # of the solver
    {'name': 'spiral'},
  ),
}
ADAM = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 1e-2}
RATES = (1e-1, 3e-2, 1e-2, 3e-3)  # to tune it


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke`, `tuned`, `model=neural_ode`, `noise`: standard deviation, `celo=FILE`,
  `celo2=FILE`.
  """
  args = common.parse(arg, smoke=False, tuned=False, model='ltc', noise=0.0, celo='', celo2='')
  c = common.train_base()
  c.model, batch_source = MODELS[choose(args.model, MODELS, 'model')]
  c.batch_source = {**batch_source, 'noise': args.noise}
  c.task = {'name': 'regression'}
  c.train.update(num_steps=2_000, log_every=20, eval_every=100)
  c.rule = ADAM
  c.sweep, c.sweep_seeds = common.hub_rows(ADAM, args.celo), (0, 1, 2, 3, 4)
  learned = c.sweep[1]['diff']['rule']
  for policy in ('increase_steps', 'min_loss'):
    diff = {'rule': learned, 'train.nonfinite': {'name': policy}}
    c.sweep.append(common.sweep_row(f'learned, {policy}', None, diff))
  c.sweep += common.tuned_rows(ADAM, RATES) if args.tuned else []
  c.sweep += common.celo2_rows(ADAM, args.celo2)
  if args.smoke:
    c.batch_source.num_steps = 8
    c.train.update(num_steps=4, log_every=2, eval_every=2)
    c.sweep_seeds = (0,)
  return c

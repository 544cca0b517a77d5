"""Minimize a function of 1000 variables that oscillates ever faster near its minimum: HUB, CPU.

python main.py --config=configs/hub_function.py --workdir=runs/function        # minutes
python main.py --config=configs/hub_function.py:smoke --workdir=runs/smoke     # seconds

f(x) = s (1 + 0.01 s + cos(1 / s)), s = ‖x‖₁, from arXiv 2305.16823: Adam, a learned optimizer, and
both combined by LGL2O and by HUB, five seeds each. The learned optimizer is Celo if `celo=FILE`
names its released weights, otherwise `velo-quickstart`, which was meta-trained on perceptrons.
`celo2=FILE` adds rows with the released Celo2, `tuned` rows with Adam at four rates that decay to
zero.
"""

from ml_collections import ConfigDict

from configs import common

ADAM = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 1e-2}
RATES = (1e-1, 3e-2, 1e-2, 3e-3)  # to tune it


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke` for a few steps; `tuned`; `celo=FILE`, `celo2=FILE`: released weights."""
  args = common.parse(arg, smoke=False, tuned=False, celo='', celo2='')
  c = common.train_base()
  c.task = {'name': 'function', 'dimension': 1000}
  c.train.update(num_steps=10_000, log_every=1, eval_every=1_000)  # every point of the path
  c.rule = ADAM
  c.sweep, c.sweep_seeds = common.hub_rows(ADAM, args.celo), (0, 1, 2, 3, 4)
  c.sweep += common.tuned_rows(ADAM, RATES) if args.tuned else []
  c.sweep += common.celo2_rows(ADAM, args.celo2)
  if args.smoke:
    c.train.update(num_steps=20, log_every=5, eval_every=10)
    c.sweep_seeds = (0,)
  return c

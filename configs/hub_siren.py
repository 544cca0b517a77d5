"""Compress a brain or a photograph into the parameters of a Siren: HUB, at CPU scale.

python main.py --config=configs/hub_siren.py --workdir=runs/siren              # 20 runs
python main.py --config=configs/hub_siren.py:smoke --workdir=runs/smoke        # minutes
python main.py --config=configs/hub_siren.py:data=volume --workdir=runs/brain  # needs l2o[volumes]

The optimizers of arXiv 2305.16823 on its compression task: Adamax (0.001, cosine), a learned
optimizer alone, in LGL2O and in HUB. Seven layers; their width follows from the raw bytes, one per
voxel or channel, divided by `compression`. The paper compresses its volumes x256; the default here
is 16, since 1/256 of so few bytes is only about 200 numbers. The learned optimizer is Celo if
`celo=FILE` names its released weights, otherwise `velo-quickstart`; `celo2=FILE` adds rows with the
released Celo2, `tuned` rows with Adamax at other rates.
"""

from ml_collections import ConfigDict

from configs import common
from l2o.models.siren_size import siren_width
from l2o.registry import check_bounds, choose

ADAMAX = {
  'name': 'hand_designed', 'optimizer': 'adamax', 'schedule': 'cosine', 'learning_rate': 1e-3,
}  # fmt: skip
RATES = (1e-1, 3e-2, 1e-2, 3e-3, 3e-4)  # to tune it; its own is between the last two


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke`, `tuned`, `data=volume`, `compression`: raw bytes over those of the network,
  `celo=FILE`, `celo2=FILE`.
  """
  words = {'data': 'photograph', 'compression': 16, 'celo': '', 'celo2': ''}
  args = common.parse(arg, smoke=False, tuned=False, **words)
  check_bounds(args, 'argument', at_least={'compression': 1})
  crop = 32 if args.smoke else {'photograph': 256, 'volume': 64}.get(args.data, 0)
  size = {  # (raw bytes, inputs, outputs)
    'photograph': (3 * crop**2, 2, 3),
    'volume': (crop**3, 3, 1),
  }
  raw, inputs, outputs = size[choose(args.data, size, 'data')]
  c = common.train_base()
  c.batch_source = {'name': args.data, 'crop': crop, 'batch_size': 4_096}
  width = siren_width(raw / args.compression, num_inputs=inputs, num_outputs=outputs)
  c.model = {'name': 'siren', 'features': width, 'num_outputs': outputs}
  c.task = {'name': 'regression', 'peak': 2.0}  # values lie in [-1, 1]
  c.train.update(num_steps=1_500, log_every=20, eval_every=100)
  c.rule = ADAMAX
  c.sweep, c.sweep_seeds = common.hub_rows(ADAMAX, args.celo), (0, 1, 2, 3, 4)
  c.sweep += common.tuned_rows(ADAMAX, RATES) if args.tuned else []
  c.sweep += common.celo2_rows(ADAMAX, args.celo2)
  if args.smoke:
    c.batch_source.batch_size = 64
    c.train.update(num_steps=2, log_every=1, eval_every=1)
    c.sweep_seeds = (0,)
  return c

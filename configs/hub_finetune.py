"""Move a CIFAR-100 network to 50 new classes with a new head: HUB for fine-tuning, on a CPU.

python main.py --config=configs/hub_finetune.py --workdir=runs/finetune        # 50 runs, an hour
python main.py --config=configs/hub_finetune.py:smoke --workdir=runs/smoke     # minutes
python main.py --config=configs/hub_finetune.py:weights=resnet20.safetensors --workdir=runs/resnet20

Needs CIFAR-100 prepared by tensorflow-datasets in TFDS_DATA_DIR. A ResNet-8 is trained on 50
classes, once per seed; then all of it is trained on the other 50, with a new head: AdamW at four
rates (warm-up over a tenth, cosine), a learned optimizer, LGL2O, HUB inverted and block-wise, and
the L3RS of docs/results/l3rs_cifar100.md, which was meta-trained on 25 of the 100 classes. The
learned optimizer is Celo if `celo=FILE` names its released weights, otherwise `velo-quickstart`;
`celo2=FILE` adds rows with the released Celo2: alone at five rates, in LGL2O and in block-wise HUB.

With `weights=FILE` nothing is pretrained here: every row starts from the ResNet-20 in that file,
which others trained on CIFAR-10 (docs/howto/pretrained.md). Its layers are new to that L3RS, which
gives them the mean of the embeddings it knows.
"""

from ml_collections import ConfigDict

from configs import common

RATES = (3e-2, 1e-2, 3e-3, 1e-3)
HUB_RATE = 1e-2  # for AdamW in HUB and LGL2O: the best of these rates from the ResNet-8
HUB_RATE_WEIGHTS = 3e-3  # the same from the weights of a ResNet-20
CELO2_RATES = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4)


def adamw(learning_rate: float) -> dict:
  """The hand-designed optimizer."""
  schedule = {'name': 'cosine', 'warmup': 0.1}
  return {
    'name': 'hand_designed',
    'optimizer': 'adamw',
    'schedule': schedule,
    'learning_rate': learning_rate,
  }


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke`, `celo=FILE`, `celo2=FILE`, `weights=FILE`."""
  args = common.parse(arg, smoke=False, celo='', celo2='', weights='')
  c = common.train_base()
  c.batch_source = {
    'name': 'images',
    'source': {'name': 'tfds', 'dataset': 'cifar100', 'download': False},
    'split': {'pretrain': 50, 'finetune': 50},
    'classes': 'finetune',
    'batch_size': 32,
    'num_evaluated': 1_000,
  }
  c.model = {
    'name': 'resnet', 'num_classes': 50, 'features': (16, 32, 64), 'blocks': 1, 'stem_stride': 2,
  }  # fmt: skip
  c.task = {'name': 'classification'}
  c.train.update(num_steps=500, log_every=10, eval_every=50)
  c.rule = adamw(_hub_rate(args))
  adam = {'name': 'hand_designed', 'optimizer': 'adam', 'schedule': 'cosine', 'learning_rate': 3e-3}
  pretraining = {
    'batch_source.classes': 'pretrain', 'batch_source.batch_size': 128, 'rule': adam,
    'train.num_steps': 2_000, 'train.eval_every': 500, 'train.comparisons': 0,
  }  # fmt: skip
  c.sweep, c.sweep_seeds = _rows(args), (0, 1, 2, 3, 4)
  if args.smoke:
    c.train.update(num_steps=2, log_every=1, eval_every=1)
    c.batch_source.update(batch_size=4, num_evaluated=16)
    pretraining |= {'batch_source.batch_size': 8, 'train.num_steps': 2, 'train.eval_every': 1}
    c.sweep_seeds = (0,)
  c.first = [common.sweep_row('pretrained', None, pretraining)]
  if args.weights:
    c.model = {'name': 'cifar_resnet', 'num_classes': 50, 'depth': 20}
    c.start, c.first = args.weights, []
  return c


def _hub_rate(args: ConfigDict) -> float:
  return HUB_RATE_WEIGHTS if args.weights else HUB_RATE


def _rows(args: ConfigDict) -> list:
  _, learned, lgl2o, hub = common.hub_rows(adamw(_hub_rate(args)), args.celo)
  rules = {f'adamw {rate:g}': adamw(rate) for rate in RATES}
  rules |= {'learned': learned['diff']['rule'], 'lgl2o': lgl2o['diff']['rule']}
  for weighting in ('inverted', 'block_wise'):
    rules[f'hub {weighting}'] = {**hub['diff']['rule'], 'weighting': weighting}
  rules['l3rs'] = {'name': 'artifact', 'path': 'l3rs-cifar100'}
  if args.weights:
    rules['l3rs']['on_mismatch'] = 'mean_embedding'
  rows = [common.sweep_row(name, None, {'rule': rule}) for name, rule in rules.items()]
  celo2 = common.celo2_rows(adamw(_hub_rate(args)), args.celo2, CELO2_RATES, 'block_wise')
  return rows + celo2

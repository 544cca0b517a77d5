"""Experiments A to F of arXiv 2408.09310, sec. 5, with every baseline.

python main.py --config=configs/l3rs_experiments.py --workdir=runs/experiments   # hours
python main.py --config=configs/l3rs_experiments.py:smoke --workdir=runs/smoke   # minutes
python main.py --config=configs/l3rs_experiments.py:rule=l3rs --workdir=runs/own # from scratch

Two data sets and two networks: A, classes and a network like those of meta-training; B, other
data; C, a network pretrained on other data; D, both; E, a network that was not pretrained. F, the
speed-up, is computed from each of them. CIFAR-100 (through tensorflow-datasets, TFDS_DATA_DIR)
stands for ImageNet and Tiny-ImageNet at 32x32 (L2O_TINY_IMAGENET) for Places. The optimizer is
`l3rs-cifar100`, which comes with l2o and was meta-trained on the same split's 25 classes; with
`rule=l3rs` an L3RS is meta-trained first, as in configs/l3rs_cifar100.py.
"""

from ml_collections import ConfigDict

from configs import common, l3rs_cifar100
from l2o.registry import choose


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke` for a run of a few steps, `rule=l3rs` to meta-train first, `only=A` for one
  experiment, `family=sgd` for one family of baselines, `family=sgd+muon` for two.
  """
  args = common.parse(arg, smoke=False, rule='l3rs-cifar100', only='', family='')
  words = ['tiny_imagenet', f'rule={args.rule}'] + ['smoke'] * args.smoke
  c = l3rs_cifar100.get_config(','.join(words))
  c.class_split.tiny_imagenet = {'pretrain': 100, 'meta_test': 100}
  c.pretrain.starts.other = {'source': 'tiny_imagenet', 'classes': 'pretrain', 'number': 1}
  cifar, tiny = (
    {'source': source, 'classes': 'meta_test'} for source in ('cifar100', 'tiny_imagenet')
  )
  c.meta_evaluate.experiments = {
    'A': {**cifar, 'start': 'main'},
    'B': {**tiny, 'start': 'main'},
    'C': {**cifar, 'start': 'other'},
    'D': {**tiny, 'start': 'other'},
    'E': {**cifar, 'start': 'random'},
  }
  if args.only:
    l3rs_cifar100.keep_experiment(c, args.only)
  families = baselines()
  if args.family:
    families = {name: families[choose(name, families, 'family')] for name in args.family.split('+')}
  c.meta_evaluate.baselines = families
  if not args.smoke:
    c.meta_evaluate.num_tasks = 20
  return c


def baselines() -> dict:
  """Every hand-designed family of the paper and some newer ones, each with its grid."""
  adam, head, sgd = l3rs_cifar100.ADAM, l3rs_cifar100.ADAM_HEAD, l3rs_cifar100.SGD
  slow = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
  return {
    'adam_cosine': common.baseline('adam', 'cosine', 'all', adam),
    'adam_constant': common.baseline('adam', 'constant', 'all', adam),
    'adam_cosine_head': common.baseline('adam', 'cosine', 'head', (3.0, 1.0, *head)),
    'adam_constant_head': common.baseline('adam', 'constant', 'head', head),
    'adafactor': common.baseline('adafactor', 'constant', 'all', (1.0, 3e-1, *slow)),
    'adamw': common.baseline('adamw', 'constant', 'all', adam),
    'ademamix': common.baseline('ademamix', 'constant', 'all', (*adam, 1e-4)),
    'nadamw': common.baseline('nadamw', 'constant', 'all', adam),
    'muon': common.baseline('muon', 'constant', 'all', (*slow, 3e-4)),
    'adamax': common.baseline('adamax', 'constant', 'all', adam),
    'sgd': common.baseline('sgd', 'constant', 'all', sgd),
    'momentum': common.baseline('momentum', 'constant', 'all', slow),
    'lion': common.baseline('lion', 'constant', 'all', (1e-2, 3e-3, 1e-3, 3e-4, 1e-4)),
    'lamb': common.baseline('lamb', 'constant', 'all', (*slow, 3e-4)),
    'prodigy': common.baseline('prodigy', 'constant', 'all', (100.0, 30.0, 10.0, 3.0, 1.0, 0.3)),
    'schedule_free_adamw': common.baseline('schedule_free_adamw', 'constant', 'all', slow),
  }

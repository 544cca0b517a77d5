"""Meta-train an L3RS on 10-way tasks of CIFAR-100: arXiv 2408.09310, sec. 5, at CPU scale.

python main.py --config=configs/l3rs_cifar100.py --workdir=runs/l3rs_cifar100   # an hour or more
python main.py --config=configs/l3rs_cifar100.py:smoke --workdir=runs/smoke     # a minute

Needs CIFAR-100 prepared by tensorflow-datasets in TFDS_DATA_DIR; with
--config.sources.cifar100.download=True it is fetched. A batch-normalised ResNet-8 is pretrained
on 50 classes; L3RS is meta-trained on 25 and evaluated on the other 25 (experiment A), also from
a network pretrained with another seed (experiment C). With l3rs_cifar100.py:tiny_imagenet it is
evaluated on Tiny-ImageNet too (experiment B), whose zip file or folder L2O_TINY_IMAGENET names.
docs/results/l3rs_cifar100.md has the results: 11 to 5 points above the best baseline.
"""

from ml_collections import ConfigDict

from configs import common
from l2o.registry import choose

# Wide enough that the best rate of each family is inside the grid at every horizon.
ADAM = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4)
ADAM_HEAD = (3e-1, 1e-1, 3e-2, 1e-2, 3e-3)
SGD = (1.0, 3e-1, 1e-1, 3e-2, 1e-2)


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke` for a run of a few steps, `tiny_imagenet` for experiment B, `only=A` for one
  experiment, `blank` to plan without data; `rule`, `velo` and `celo`: `common.set_rules`.
  """
  words = {'rule': 'l3rs', 'velo': '', 'celo': ''}
  args = common.parse(arg, smoke=False, blank=False, tiny_imagenet=False, only='', **words)
  c = common.base()
  c.sources = {'cifar100': {'name': 'tfds', 'dataset': 'cifar100', 'download': False}}
  c.class_split = {'cifar100': {'pretrain': 50, 'meta_train': 25, 'meta_test': 25}}
  c.model = {'name': 'resnet', 'features': (16, 32, 64), 'blocks': 1, 'stem_stride': 2}
  c.task = {'name': 'classification'}
  c.episodes = {'num_ways': 10, 'batch_size': 32, 'eval_size': 250}

  c.pretrain = {
    'num_steps': 4_000,
    'batch_size': 128,
    'rule': common.hand_designed('adam', schedule='cosine', learning_rate=3e-3),
    'mesh': {'data': 1},
    'log_every': 100,
    'starts': {  # networks to start from
      'main': {'source': 'cifar100', 'classes': 'pretrain', 'number': 0},
      'other': {'source': 'cifar100', 'classes': 'pretrain', 'number': 1},
    },
  }

  c.estimator = {'name': 'nes', 'population': 32, 'sigma': 0.05, 'sigma_halves_every': 500}
  c.meta_train = {
    'source': 'cifar100',
    'classes': 'meta_train',
    'start': 'main',
    'num_generations': 100,
    'meta_batch': 4,
    'min_steps': 10,  # K ~ U{10..50}
    'max_steps': 50,
    'optimizer': {  # for theta
      'name': 'adam',
      'learning_rate': 0.02,
      'schedule': {'name': 'halving', 'every': 500},  # generations
    },
    'mapping': 'auto',
    'task_mapping': 'auto',  # convolutions on a CPU are fast with one set of kernels at a time
    'mesh': {'population': -1, 'data': 1},
  }

  c.meta_evaluate = _meta_evaluate()
  common.set_rules(c, args)
  if args.tiny_imagenet:
    c.sources.tiny_imagenet = {'name': 'tiny_imagenet', 'path': '', 'size': 32}
    c.meta_evaluate.experiments.B = {'source': 'tiny_imagenet', 'classes': 'all', 'start': 'main'}
  if args.blank:
    c.sources = {name: common.blank(name, 32) for name in c.sources}
  if args.only:
    keep_experiment(c, args.only)
  if args.smoke:
    c.pretrain.update(num_steps=3, log_every=1, batch_size=8)
    c.episodes.update(batch_size=4, eval_size=16)
    c.estimator.population = 2
    c.meta_train.update(num_generations=1, min_steps=1, max_steps=2, meta_batch=1)
    c.meta_evaluate.update(num_steps=(1, 2), num_tasks=2, trace_tasks=1, trace_steps=2)
  return c


def keep_experiment(c: ConfigDict, name: str) -> None:
  """Drops the other experiments, and the networks that only they start from."""
  kept = c.meta_evaluate.experiments[choose(name, c.meta_evaluate.experiments, 'experiment')]
  c.meta_evaluate.experiments = {name: kept.to_dict()}
  starts = {'main', kept.start}
  c.pretrain.starts = {k: v for k, v in c.pretrain.starts.to_dict().items() if k in starts}


def _meta_evaluate() -> dict:
  return {
    'num_steps': (10, 25, 50, 100),
    'num_tasks': 50,
    'trace_tasks': 4,
    'trace_steps': 50,
    'mapping': 'auto',
    'setting_mapping': 'auto',
    'mesh': {'population': -1, 'data': 1},
    'experiments': {
      'A': {'source': 'cifar100', 'classes': 'meta_test', 'start': 'main'},
      'C': {'source': 'cifar100', 'classes': 'meta_test', 'start': 'other'},
    },
    'paper': {},
    'baselines': {
      'adam_cosine': common.baseline('adam', 'cosine', 'all', ADAM),
      'adam_constant': common.baseline('adam', 'constant', 'all', ADAM),
      'adam_constant_head': common.baseline('adam', 'constant', 'head', ADAM_HEAD),
      'sgd_constant': common.baseline('sgd', 'constant', 'all', SGD),
    },
    'bootstrap_samples': 10_000,
    'allow_seen_classes': False,  # whether evaluation may use classes seen in training
  }

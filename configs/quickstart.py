"""Meta-train an L3RS on printed characters and compare it with a grid of 36 settings, on a CPU.

python main.py --config=configs/quickstart.py --workdir=runs/quickstart      # minutes on 2 cores
python main.py --config=configs/quickstart.py:smoke --workdir=runs/smoke # a minute to compile

The protocol of arXiv 2408.09310, small: a perceptron pretrained on half of the 62 characters; a
learned optimizer meta-trained on 5-way tasks of 15 other characters; evaluated on the 16 that
neither has seen (experiment A) and on handwritten digits (experiment B). Expected: L3RS above the
best hand-designed setting of each horizon at 10, 25 and 50 steps of experiment A.
"""

from ml_collections import ConfigDict

from configs import common

SHIPPED = 'l3rs-quickstart'  # in l2o/artifacts/zoo, made with this config
# With three seeds, every family that trains all parameters has its best rate inside its grid.
ADAM = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4)
ADAM_HEAD = (3.0, 1.0, 3e-1, 1e-1, 3e-2, 1e-2)
SGD = (1.0, 5e-1, 2e-1, 1e-1, 5e-2, 2e-2)
SGD_HEAD = (1.0, 3e-1, 1e-1, 3e-2, 1e-2, 3e-3)


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke` for a run of a few steps; `rule`, `velo` and `celo`: `common.set_rules`."""
  args = common.parse(arg, smoke=False, rule='l3rs', velo='', celo='')
  c = common.base()
  c.sources = {'glyphs': {'name': 'glyphs', 'seed': 0}, 'digits': {'name': 'digits', 'seed': 0}}
  c.class_split = {'glyphs': {'pretrain': 31, 'meta_train': 15, 'meta_test': 16}}  # halves: sec. 5
  c.model = {'name': 'mlp', 'features': (64, 64)}
  c.task = {'name': 'classification'}
  c.episodes = {
    'num_ways': 5,
    'batch_size': 32,  # of a training batch
    'eval_size': 256,  # of the evaluation batch: sec. 5
  }
  c.pretrain = {
    'num_steps': 1_000,  # about ten epochs
    'batch_size': 128,
    'rule': common.hand_designed('adam', schedule='cosine', learning_rate=1e-3),
    'mesh': {'data': 1},
    'log_every': 50,  # steps
    'starts': {'main': {'source': 'glyphs', 'classes': 'pretrain', 'number': 0}},
  }
  # Population and halving are the paper's, sec. 5; it gives neither sigma nor the step on theta.
  c.estimator = {'name': 'nes', 'population': 32, 'sigma': 0.05, 'sigma_halves_every': 500}
  c.meta_train = {
    'source': 'glyphs',
    'classes': 'meta_train',
    'start': 'main',
    'num_generations': 60,
    'meta_batch': 4,  # tasks per generation, shared by all candidates
    'min_steps': 10,  # K ~ U{10..50}
    'max_steps': 50,
    'optimizer': {  # for theta
      'name': 'adam',
      'learning_rate': 0.02,
      'schedule': {'name': 'halving', 'every': 500},  # generations
    },
    'mapping': 'auto',  # how a device runs its candidates
    'task_mapping': 'auto',  # how a candidate runs its tasks
    'mesh': {'population': -1, 'data': 1},
  }
  c.meta_evaluate = _meta_evaluate()
  common.set_rules(c, args)
  if c.meta_train.num_generations:
    c.meta_evaluate.baselines.untrained = {'rule': c.rule}  # what meta-training starts from
  if args.rule not in ('l3rs', SHIPPED):
    c.meta_evaluate.baselines[SHIPPED] = {'rule': {'name': 'artifact', 'path': SHIPPED}}
  if args.smoke:
    _smoke(c)
  return c


def _meta_evaluate() -> dict:
  return {
    'num_steps': (10, 25, 50, 100),  # 100 is beyond what meta-training saw
    'num_tasks': 50,
    'trace_tasks': 8,  # tasks on which mu and lambda are recorded
    'trace_steps': 50,
    'mapping': 'auto',  # how a device runs its tasks
    'setting_mapping': 'vectorized',  # how a task runs the settings of a family
    'mesh': {'population': -1, 'data': 1},
    'experiments': {
      'A': {'source': 'glyphs', 'classes': 'meta_test', 'start': 'main'},
      'B': {'source': 'digits', 'classes': 'all', 'start': 'main'},
    },
    'paper': {},  # experiment -> optimizer -> accuracies in % at num_steps, to compare with ours
    'baselines': {
      'adam_cosine': common.baseline('adam', 'cosine', 'all', ADAM),
      'adam_constant': common.baseline('adam', 'constant', 'all', ADAM),
      'adam_cosine_head': common.baseline('adam', 'cosine', 'head', ADAM_HEAD),
      'adam_constant_head': common.baseline('adam', 'constant', 'head', ADAM_HEAD),
      'sgd_constant': common.baseline('sgd', 'constant', 'all', SGD),
      'sgd_constant_head': common.baseline('sgd', 'constant', 'head', SGD_HEAD),
    },
    'bootstrap_samples': 10_000,
    'allow_seen_classes': False,  # whether evaluation may use classes seen in training
  }


def _smoke(c: ConfigDict) -> None:
  """A few steps of everything: shows that the parts fit together, not that anything is learned."""
  c.sources.glyphs.per_font = 4
  c.episodes.eval_size = 64
  c.pretrain.update(num_steps=20, log_every=5)
  c.estimator.population = 4
  c.meta_train.update(num_generations=3, min_steps=1, max_steps=5)
  c.meta_evaluate.update(num_steps=(2, 5), num_tasks=3, trace_tasks=2, trace_steps=5)
  for baseline in c.meta_evaluate.baselines.values():
    if 'learning_rates' in baseline:
      baseline.learning_rates = (1e-1, 1e-2)

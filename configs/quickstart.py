"""Meta-train an L3RS on printed characters and compare it with 24 tuned settings, on a CPU.

python main.py --config=configs/quickstart.py --workdir=runs/quickstart      # minutes on 2 cores
python main.py --config=configs/quickstart.py:smoke --workdir=runs/smoke     # seconds of computing

The protocol of arXiv 2408.09310, small: a perceptron pretrained on half of the 62 characters; a
learned optimizer meta-trained on 5-way tasks of 15 other characters; evaluated on the 16 that
neither has seen (experiment A) and on handwritten digits (experiment B). Expected: L3RS above the
best hand-designed setting of each horizon at 10, 25 and 50 steps of experiment A.
"""

from ml_collections import ConfigDict

from configs import common

RATES = (1e-1, 1e-2, 1e-3, 1e-4)


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke` for a run of a few steps."""
  args = common.parse(arg, smoke=False)
  c = common.base()
  c.sources = {'glyphs': {'name': 'glyphs', 'seed': 0}, 'digits': {'name': 'digits', 'seed': 0}}
  c.source = 'glyphs'
  c.class_split = {'pretrain': 31, 'meta_train': 15, 'meta_test': 16}
  c.model = {'name': 'mlp', 'features': (64, 64)}
  c.task = {'name': 'classification'}
  c.tasks = {'num_ways': 5, 'batch_size': 32, 'eval_size': 256}

  c.pretrain = {
    'num_steps': 1_000,
    'batch_size': 128,
    'learning_rate': 1e-3,
    'optimizer': {'name': 'hand_designed', 'optimizer': 'adam', 'schedule': 'cosine'},
    'mesh': {'population': 1, 'data': 1},
    'log_every': 50,
  }

  c.rule = {'name': 'l3rs', 'directions': ('sgd', 'adam')}
  # The paper gives no sigma and no meta learning rate; both halve every 500 generations there.
  c.estimator = {'name': 'nes', 'population': 32, 'sigma': 0.05, 'sigma_halves_every': 500}
  c.meta_train = {
    'num_generations': 60,
    'meta_batch': 4,  # tasks of a generation, common to all candidates
    'min_steps': 10,  # K ~ U{10..50}
    'max_steps': 50,
    'learning_rate': 0.02,  # of Adam on theta
    'learning_rate_halves_every': 500,
    'mapping': 'auto',  # how a device runs its candidates
    'mesh': {'population': -1, 'data': 1},
  }

  c.meta_evaluate = {
    'num_steps': (10, 25, 50, 100),
    'num_tasks': 50,
    'trace_tasks': 8,  # of which mu and lambda are recorded
    'trace_steps': 50,
    'mapping': 'auto',  # how a device runs its tasks
    'mesh': {'population': -1, 'data': 1},
    'experiments': {
      'A': {'source': 'glyphs', 'classes': 'meta_test'},
      'B': {'source': 'digits', 'classes': 'all'},
    },
    'baselines': {
      'adam cosine': _baseline('adam', 'cosine', 'all'),
      'adam constant': _baseline('adam', 'constant', 'all'),
      'adam cosine head': _baseline('adam', 'cosine', 'head'),
      'adam constant head': _baseline('adam', 'constant', 'head'),
      'sgd constant': _baseline('sgd', 'constant', 'all'),
      'sgd constant head': _baseline('sgd', 'constant', 'head'),
    },
    'bootstrap_samples': 10_000,
  }
  if args.smoke:
    _smoke(c)
  return c


def _baseline(optimizer: str, schedule: str, trainable: str) -> dict:
  """One family of settings: a compiled program, mapped over its learning rates."""
  return {
    'optimizer': optimizer,
    'schedule': schedule,
    'trainable': trainable,
    'learning_rates': RATES,
  }


def _smoke(c: ConfigDict) -> None:
  """A few steps of everything: it shows that the parts fit, not that anything is learned."""
  c.sources.glyphs.per_font = 4
  c.tasks.eval_size = 64
  c.pretrain.update(num_steps=20, log_every=5)
  c.estimator.population = 4
  c.meta_train.update(num_generations=3, min_steps=1, max_steps=5)
  c.meta_evaluate.update(num_steps=(2, 5), num_tasks=3, trace_tasks=2, trace_steps=5)
  for baseline in c.meta_evaluate.baselines.values():
    baseline.learning_rates = (1e-1, 1e-2)

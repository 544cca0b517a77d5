"""Meta-train an L3RS to fine-tune a small language model on Python packages.

python main.py --config=configs/l3rs_language.py --workdir=runs/language              # hours
python main.py --config=configs/l3rs_language.py:lora=4 --workdir=runs/lora           # adapters
python main.py --config=configs/l3rs_language.py:smoke --workdir=runs/smoke           # a minute

A byte-level decoder is pretrained on the sources of 75 packages and modules of the standard
library. L3RS is meta-trained to fine-tune it on one of 35 others (a task) and evaluated on 35 that
it never saw, against AdamW, schedule-free AdamW, Muon and, with `celo2=FILE`, the released Celo2,
with rates tuned at each horizon on other tasks. Accuracy is that of predicting the next byte.
"""

from ml_collections import ConfigDict

from configs import common

SERIES = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
RATES = {  # optimizer, schedule -> for all parameters, and for adapters
  ('adamw', 'constant'): ((*SERIES[1:], 3e-5), SERIES[1:]),
  ('adamw', 'cosine'): ((*SERIES[1:], 3e-5), SERIES[1:]),
  ('schedule_free_adamw', 'constant'): (SERIES, SERIES),
  ('muon', 'constant'): (SERIES, SERIES),
}

RATES_OF_CELO2 = (*SERIES[1:], 3e-5, 1e-5)


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke` for a run of a few steps, `lora=4` for adapters of that rank, `celo2=FILE`;
  `rule`, `velo` and `celo`: `common.set_rules`.
  """
  words = {'rule': 'l3rs', 'velo': '', 'celo': ''}
  args = common.parse(arg, smoke=False, lora=0, celo2='', **words)
  c = common.base()
  # Modules that differ between versions of Python leave some of about 155 classes unused.
  c.sources = {'python': {'name': 'python_library', 'length': 64, 'fewest': 100, 'most': 400}}
  c.class_split = {'python': {'pretrain': 75, 'meta_train': 35, 'meta_test': 35}}
  c.model = {'name': 'decoder', 'vocab_size': 256, 'width': 64, 'depth': 2, 'heads': 4}
  c.task = {'name': 'language_model', 'lora_rank': args.lora}
  c.episodes = {'num_ways': 1, 'batch_size': 8, 'eval_size': 20}

  c.pretrain = {
    'num_steps': 4_000,
    'batch_size': 64,
    'rule': common.hand_designed('adamw', schedule='cosine', learning_rate=3e-3),
    'mesh': {'data': 1},
    'log_every': 100,
    'starts': {'main': {'source': 'python', 'classes': 'pretrain', 'number': 0}},
  }
  c.estimator = {'name': 'nes', 'population': 32, 'sigma': 0.05, 'sigma_halves_every': 500}
  c.meta_train = {
    'source': 'python',
    'classes': 'meta_train',
    'start': 'main',
    'num_generations': 100,
    'meta_batch': 4,
    'min_steps': 10,  # K ~ U{10..100}
    'max_steps': 100,
    'optimizer': {  # for theta
      'name': 'adam',
      'learning_rate': 0.02,
      'schedule': {'name': 'halving', 'every': 500},  # generations
    },
    'mapping': 'auto',
    'task_mapping': 'auto',
    'mesh': {'population': -1, 'data': 1},
  }
  c.meta_evaluate = _meta_evaluate(adapters=bool(args.lora))
  common.set_rules(c, args)
  if args.celo2:
    celo2 = {'name': 'celo2', 'weights': args.celo2, 'schedule': 'linear'}
    c.meta_evaluate.baselines.celo2_linear = {'rule': celo2, 'learning_rates': RATES_OF_CELO2}
  if args.smoke:
    _smoke(c)
  return c


def _meta_evaluate(adapters: bool) -> dict:
  return {
    'num_steps': (10, 25, 50, 100),
    'num_tasks': 50,
    'tuning_tasks': 10,
    'trace_tasks': 4,
    'trace_steps': 50,
    'mapping': 'auto',
    'setting_mapping': 'auto',
    'mesh': {'population': -1, 'data': 1},
    'experiments': {'A': {'source': 'python', 'classes': 'meta_test', 'start': 'main'}},
    'paper': {},
    'baselines': {
      f'{name}_{schedule}': common.baseline(name, schedule, 'all', rates[adapters])
      for (name, schedule), rates in RATES.items()
    },
    'bootstrap_samples': 10_000,
    'allow_seen_classes': False,
  }


def _smoke(c: ConfigDict) -> None:
  """A few steps of everything."""
  c.sources.python.update(length=16, fewest=40, most=40)
  c.model.update(width=16, depth=1, heads=2)
  c.episodes.update(batch_size=2, eval_size=4)
  c.pretrain.update(num_steps=3, log_every=1, batch_size=8)
  c.estimator.population = 2
  c.meta_train.update(num_generations=1, min_steps=1, max_steps=2, meta_batch=1)
  c.meta_evaluate.update(
    num_steps=(1, 2), num_tasks=2, tuning_tasks=1, trace_tasks=1, trace_steps=2
  )
  for baseline in c.meta_evaluate.baselines.values():
    if 'learning_rates' in baseline:
      baseline.learning_rates = baseline.learning_rates[:2]

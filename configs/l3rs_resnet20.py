"""Meta-train an L3RS to fine-tune a ResNet-20 that others pretrained on CIFAR-10.

python main.py --config=configs/l3rs_resnet20.py --workdir=runs/resnet20              # hours
python main.py --config=configs/l3rs_resnet20.py:smoke --workdir=runs/smoke           # minutes
python main.py --config=configs/l3rs_resnet20.py:only=A,family=muon --workdir=runs/muon

The network is the ResNet-20 of pytorch_resnet_cifar10, in `weights=FILE` (docs/howto/pretrained.md
says how to write it). L3RS is meta-trained to fine-tune it on 10-way tasks of 25 classes of
CIFAR-100, and evaluated on 25 others (experiment A) and on Tiny-ImageNet (experiment B), up to 2.5
times the longest horizon of meta-training, against every hand-designed optimizer: with a constant
learning rate and with a cosine, on all parameters and on the head, their rates tuned at each
horizon on 10 other tasks. Data as for configs/l3rs_experiments.py. Images have 16 instead of 32
pixels, so that meta-training takes about an hour on two cores; `size=32` is what the weights were
trained at.
"""

from ml_collections import ConfigDict

from configs import common, l3rs_cifar100
from l2o.registry import choose

WEIGHTS = 'resnet20_cifar10.safetensors'
SERIES = tuple(float(f'{m}e{n}') for n in range(-4, 4) for m in (1, 3))
RATES = {  # optimizer -> the lowest and the highest rate, for all parameters and for the head
  'adafactor': ((1e-3, 1.0), (1e-2, 10.0)),
  'adam': ((3e-4, 3e-2), (3e-3, 30.0)),
  'adamw': ((3e-4, 3e-2), (3e-3, 30.0)),
  'ademamix': ((1e-4, 1e-2), (1e-3, 30.0)),
  'lamb': ((3e-4, 1e-1), (3e-3, 1.0)),
  'lion': ((1e-4, 1e-2), (1e-3, 1.0)),
  'momentum': ((1e-3, 3e-1), (3e-3, 10.0)),
  'muon': ((3e-4, 1e-1), (3e-3, 30.0)),
  'nadamw': ((3e-4, 3e-2), (3e-3, 1.0)),
  'prodigy': ((3e-1, 1000.0), (3e-1, 3000.0)),
  'schedule_free_adamw': ((1e-3, 1e-1), (1e-2, 3.0)),
  'sgd': ((1e-2, 1.0), (3e-2, 100.0)),
}


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke` for a run of a few steps, `weights=FILE`, `size=32` for the image size,
  `only=A` for one experiment, `family=adam` for the rows of one hand-designed optimizer,
  `family=adam_cosine_head` for one of them and `family=adam+sgd_cosine` for several;
  `rule`, `velo` and `celo`: `common.set_rules`.
  """
  words = {'rule': 'l3rs', 'velo': '', 'celo': ''}
  args = common.parse(arg, smoke=False, weights=WEIGHTS, size=16, only='', family='', **words)
  rest = ['tiny_imagenet', *(f'{key}={args[key]}' for key in words if args[key])]
  c = l3rs_cifar100.get_config(','.join(rest + ['smoke'] * args.smoke))
  c.model = {'name': 'cifar_resnet', 'depth': 20}
  c.task = {'name': 'classification', 'preprocessing': {'size': args.size}}
  c.pretrain.starts = {'main': {'weights': args.weights}}
  experiments = c.meta_evaluate.experiments.to_dict()
  c.meta_evaluate.experiments = {name: experiments[name] for name in 'AB'}
  if args.only:
    l3rs_cifar100.keep_experiment(c, args.only)
  rows = c.meta_evaluate.baselines.to_dict()
  learned = {name: row for name, row in rows.items() if 'learning_rates' not in row}
  c.meta_evaluate.baselines = baselines(args.family) | learned
  if not args.smoke:
    c.episodes.batch_size = 16
    c.meta_train.update(meta_batch=2, max_steps=100)
    if c.meta_train.num_generations:  # 0 if the rule comes from a file
      c.meta_train.num_generations = 180  # a little more than an hour on two cores
    c.meta_evaluate.num_steps = (10, 25, 50, 100, 250)
    c.meta_evaluate.draw_steps = 250  # the same tasks if a run evaluates only some horizons
    c.meta_evaluate.tuning_tasks = 10  # a grid on all 50 would take days
  return c


def baselines(family: str = '') -> dict:
  """Every hand-designed optimizer, with its schedules, on all parameters and on the head."""
  rows = {
    f'{name}_{schedule}{suffix}': common.baseline(name, schedule, trainable, _grid(*ends))
    for name in RATES
    for trainable, suffix, ends in zip(('all', 'head'), ('', '_head'), RATES[name], strict=True)
    for schedule in ('constant', 'cosine')
    if (name, schedule) != ('schedule_free_adamw', 'cosine')  # it averages instead of decaying
  }
  if not family:
    return rows
  kept = {choose(name, (*RATES, *rows), 'family') for name in family.split('+')}
  return {name: row for name, row in rows.items() if kept & {name, row['rule']['optimizer']}}


def _grid(lowest: float, highest: float) -> tuple[float, ...]:
  return tuple(rate for rate in reversed(SERIES) if lowest <= rate <= highest)

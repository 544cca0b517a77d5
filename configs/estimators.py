"""Compare estimators of the meta-gradient at equal inner steps: the meta-loss against inner steps.

python main.py --config=configs/estimators.py --workdir=runs/estimators   # half an hour on a core
python main.py --config=configs/estimators.py:problem=long,rule=mlp_lopt --workdir=runs/long
python main.py --config=configs/estimators.py:smoke --workdir=runs/smoke         # minutes
python -m reports.estimators runs/estimators --out=estimators.png

Each row of `sweep` is an estimator, each of `sweep_seeds` another draw of everything, and all rows
of a seed begin with the same theta. A row has as many generations as make the inner steps of all
rows equal; for truncated evolution strategies the run without a perturbation counts as well. All
minimize the mean training loss of an episode of fixed length, and every eighth of a run theta is
evaluated on tasks that stay the same: `eval_mean_loss` of meta_train/metrics.jsonl is that
objective, `eval_loss` the loss on evaluation data at the end of the episodes.

Results are in docs/results/estimators.md. The axis does not count that reverse mode computes each
inner step twice and differentiates it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from configs import common, quickstart
from l2o.registry import choose

EVALUATIONS = 8  # of theta, and one more before the first generation
PAIR, TRIPLE = 2, 3  # runs of a particle: with theta + eps and - eps, and with theta itself


class Problem(NamedTuple):
  """The sizes of an inner problem and of the estimates on it."""

  num_steps: int  # K, of every episode
  total: int  # inner steps of a run, a multiple of EVALUATIONS estimates of every row
  population: int  # candidates of an estimate from whole episodes, each on one task
  particles: int  # of an estimate from windows
  window: int  # steps
  period: int  # of gpes, steps
  eval_tasks: int


class Theta(NamedTuple):
  """A learned rule and how its theta is searched for."""

  rule: Mapping[str, Any]
  sigma: float
  learning_rate: float  # of Adam at the first generation; it falls to 0 along a cosine
  whole: float  # the same where an estimate takes whole episodes, which leaves fewer updates


PROBLEMS = {
  'quickstart': Problem(50, 19_200, population=8, particles=4, window=10, period=20, eval_tasks=8),
  'long': Problem(2_000, 192_000, population=4, particles=4, window=100, period=500, eval_tasks=2),
}
SMOKE = Problem(8, 1_536, population=4, particles=2, window=4, period=8, eval_tasks=2)
MLP_LOPT = {'name': 'mlp_lopt', 'hidden_size': 16}  # half the units, for cheaper inner steps
L3RS = common.RULES['l3rs']
# Chosen on seed 0 with pes and nes, so that both descend. Theta begins as a rule that descends too
# slowly: a random perceptron's steps lead nowhere in 50 steps, and far away in 2,000.
THETAS = {  # rule -> problem
  'mlp_lopt': {
    'quickstart': Theta(
      MLP_LOPT | {'initial_step': 3e-4}, sigma=0.01, learning_rate=3e-3, whole=3e-3
    ),
    'long': Theta(MLP_LOPT | {'initial_step': 1e-3}, sigma=0.01, learning_rate=1e-2, whole=1e-2),
  },
  'l3rs': {
    'quickstart': Theta(L3RS, sigma=0.03, learning_rate=0.01, whole=0.01),
    # With the usual -3.0 no theta that was found is better than the first one.
    'long': Theta(L3RS | {'log_step_norm': -5.0}, sigma=0.02, learning_rate=3e-3, whole=0.02),
  },
}


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `problem`, quickstart or long; `rule`, l3rs or mlp_lopt; `smoke`, two short rows."""
  args = common.parse(arg, smoke=False, problem='quickstart', rule='l3rs')
  problem = PROBLEMS[choose(args.problem, PROBLEMS, 'problem')]
  theta = THETAS[choose(args.rule, THETAS, 'rule of the comparison')][args.problem]
  c = quickstart.get_config('smoke' if args.smoke else '')
  c.cpu_devices = 1  # runs are small: one for each core, see `sweep_seeds`
  c.sources = {'glyphs': c.sources.glyphs.to_dict()}
  if args.problem == 'long':
    _long(c)
  if args.smoke:
    problem = SMOKE
  c.rule = theta.rule
  c.meta_train.update(
    meta_batch=1,
    min_steps=problem.num_steps,
    max_steps=problem.num_steps,
    objective='mean',  # as that of the estimators of windows
    eval_tasks=problem.eval_tasks,
  )
  c.meta_train.optimizer = {
    'name': 'adam', 'learning_rate': theta.learning_rate, 'schedule': 'cosine',
  }  # fmt: skip
  c.meta_evaluate.update(
    num_steps=(problem.num_steps,),
    num_tasks=2,
    trace_tasks=1,
    trace_steps=min(problem.num_steps, 50),
  )
  c.meta_evaluate.experiments = {'A': c.meta_evaluate.experiments.A.to_dict()}
  c.meta_evaluate.baselines = {  # an evaluation of two tasks shows that the rule works; no more
    'adam_constant': common.baseline('adam', 'constant', 'all', (1e-2,)),
  }
  c.sweep = [
    common.sweep_row(label, None, _changes(problem, theta, estimator))
    for label, estimator in estimators(problem, theta.sigma).items()
  ]
  c.sweep_seeds = (0, 1, 2, 3, 4)
  if args.smoke:
    c.sweep, c.sweep_seeds = [c.sweep[0], c.sweep[3]], (0,)
  c.update_from_flattened_dict(c.sweep[0]['diff'])  # the base is the first row
  return c


def estimators(problem: Problem, sigma: float) -> dict[str, dict[str, Any]]:
  """Label -> the estimator of a row."""
  whole = {'population': problem.population, 'sigma': sigma}
  windows = {'particles': problem.particles, 'window': problem.window}
  noisy = windows | {'sigma': sigma}
  twice = windows | {'particles': PAIR * problem.particles}  # a particle is one run
  return {
    'nes': {'name': 'nes', **whole, 'sigma_halves_every': 1e9},  # never, as in the other rows
    'full_es': {'name': 'full_es', **whole},
    'truncated_es': {'name': 'truncated_es', **noisy},
    'pes': {'name': 'pes', **noisy},
    'nres': {'name': 'nres', **noisy},
    'gpes': {'name': 'gpes', **noisy, 'period': problem.period},
    'reverse_mode of windows': {'name': 'reverse_mode', **twice},
    'reverse_mode': {'name': 'reverse_mode', 'particles': 1},
  }


def inner_steps(problem: Problem, estimator: Mapping[str, Any]) -> int:
  """Those of an estimate."""
  if 'population' in estimator:
    return estimator['population'] * problem.num_steps
  runs = {'reverse_mode': 1, 'truncated_es': TRIPLE}.get(estimator['name'], PAIR)
  return runs * estimator['particles'] * estimator.get('window', problem.num_steps)


def _changes(problem: Problem, theta: Theta, estimator: Mapping[str, Any]) -> dict[str, Any]:
  between, rest = divmod(problem.total, EVALUATIONS * inner_steps(problem, estimator))
  assert not rest  # so that all rows are evaluated at the same inner steps
  rate = theta.learning_rate if 'window' in estimator else theta.whole
  return {
    'estimator': dict(estimator),
    'meta_train.num_generations': EVALUATIONS * between,
    'meta_train.eval_every': between,
    'meta_train.optimizer.learning_rate': rate,
  }


def _long(c: ConfigDict) -> None:
  """A small network from random weights, on tasks of 20 characters at half of their size."""
  c.class_split = {'glyphs': {'pretrain': 2, 'meta_train': 40, 'meta_test': 20}}
  c.pretrain.update(num_steps=1)  # next to nothing: the inner problem is the whole training
  c.model = {'name': 'mlp', 'features': (16,)}
  c.task.preprocessing = {'mean': (0.5,), 'std': (0.5,), 'size': 14, 'interpolation': 'bilinear'}
  c.episodes.update(num_ways=20)

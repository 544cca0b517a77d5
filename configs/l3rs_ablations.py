"""Ablate L3RS at K = 10: Tables 2, 3 and 4 of arXiv 2408.09310, at CPU scale.

python main.py --config=configs/l3rs_ablations.py --workdir=runs/ablations   # an hour
python main.py --config=configs/l3rs_ablations.py:smoke --workdir=runs/smoke # minutes
python main.py --config=configs/l3rs_ablations.py:paper --workdir=runs/paper # accelerators; untimed

The base is the quickstart's task with K = 10 and a learning rate that halves every 100
generations, as in the paper's ablations; each row of `sweep` is a difference from it, run once
for each of `sweep_seeds`. Finished rows are skipped, so an interrupted or enlarged sweep resumes.
Expected from the paper: embeddings above none and global, base sets about equal, averages worth a
point or two. docs/results/l3rs_ablations.md has our results of three seeds, which differ.

With `paper` the base is experiment A of configs/l3rs_paper.py, ResNet-34 on ImageNet, with K = 10,
500 generations and the same halving; one seed (ours). `paper,smoke` runs its network on small data,
and `paper,blank` plans it without data.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, l3rs_paper, quickstart
from l2o.errors import InputError

IDENTITIES = ('global', 'none', 'per_layer_mlp', 'embedding')
PAPER_IDENTITIES = {  # Table 2, accuracy in %; two of its cells are illegible in the source
  ('sgd',): (None, 64.48, 64.71, 68.18),
  ('adam',): (None, 61.44, 67.14, 68.52),
  ('sgd', 'adam'): (56.71, 65.70, 68.52, 68.93),
}
PAPER_GAMMAS = {(0.0, 0.9, 0.99): 68.93, (0.0, 0.9): 67.43, (0.0,): 67.78, (): 66.52}  # Table 3
PAPER_DIRECTIONS = {  # Table 4
  ('sgd', 'adam'): 68.93,
  ('adam', 'lion', 'lamb'): 68.61,
  ('adamax', 'sgd', 'lamb'): 66.95,
  ('sgd', 'adam', 'adamax', 'lion', 'lamb', 'weight_decay'): 68.41,
}


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `smoke` for two rows of a few steps; `paper`, with or without `blank`."""
  args = common.parse(arg, smoke=False, paper=False, blank=False)
  if args.blank and not args.paper:
    raise InputError('blank is for the data of the paper; add paper')
  words = ['smoke'] * args.smoke + ['blank'] * args.blank
  if args.paper:
    c = l3rs_paper.get_config(','.join(['only=A', *words]))
  else:
    c = quickstart.get_config(','.join(words))
    kept = c.meta_evaluate.experiments.A.to_dict()
    c.sources, c.meta_evaluate.experiments = {'glyphs': c.sources.glyphs.to_dict()}, {'A': kept}
  c.rule = {
    'name': 'l3rs',
    'directions': ('sgd', 'adam'),
    'identity': 'embedding',
    'gammas': (0.0, 0.9, 0.99),
  }
  c.estimator.sigma_halves_every = 100
  c.meta_train.update(num_generations=500 if args.paper else 100, min_steps=10, max_steps=10)
  c.meta_train.optimizer.schedule.every = 100
  c.meta_evaluate.update(num_steps=(10,), num_tasks=100, trace_steps=10)
  c.meta_evaluate.paper = {}  # the paper's values are in the rows below
  c.meta_evaluate.baselines = {
    'adam_constant': common.baseline('adam', 'constant', 'all', (1e-1, 1e-2, 1e-3)),
  }
  c.sweep, c.sweep_seeds = rows(), (0,) if args.paper else (0, 1, 2)
  if args.smoke:
    c.meta_train.update(num_generations=1, min_steps=2, max_steps=2)
    c.meta_evaluate.update(num_steps=(2,), num_tasks=3, trace_steps=2)
    c.sweep, c.sweep_seeds = [rows()[0], rows()[11]], (0,)
  return c


def rows() -> list[dict[str, Any]]:
  """Every cell of the three tables, as a difference from the base."""
  table_2 = [
    common.sweep_row(
      'Table 2: layer identity',
      paper,
      {'rule.directions': directions, 'rule.identity': identity},
    )
    for directions, cells in PAPER_IDENTITIES.items()
    for identity, paper in zip(IDENTITIES, cells, strict=True)
  ]
  table_3 = [
    common.sweep_row('Table 3: averages', paper, {'rule.gammas': gammas})
    for gammas, paper in PAPER_GAMMAS.items()
  ]
  table_4 = [
    common.sweep_row('Table 4: base optimizers', paper, {'rule.directions': directions})
    for directions, paper in PAPER_DIRECTIONS.items()
  ]
  return table_2 + table_3 + table_4

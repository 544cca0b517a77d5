"""The question that a pipeline's config asks and the answer of its results, in a sentence each."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from reports import results, table
from reports.page.blocks import counted
from reports.workdir import Workdir


def question(run: Workdir) -> str:
  """What the config asks."""
  config = run.config
  spec = config['meta_evaluate']
  rivals = [row for row in spec['baselines'].values() if row['rule'].get('name') == 'hand_designed']
  subject = f'{_named(config["rule"])}, {_origin(config)},'
  if not rivals:
    return f'How accurate is {subject} {_on(run)}?'
  settings = sum(max(1, len(row.get('learning_rates') or [])) for row in rivals)
  if spec.get('tuning_tasks') and settings > len(rivals):
    several = f'the best of {len(rivals)} hand-designed optimizers'
    opponent = (
      f'{several if len(rivals) > 1 else "the hand-designed optimizer"} tuned on '
      f'{counted(spec["tuning_tasks"], "other task")}'
    )
  else:
    opponent = f'the best of {counted(settings, "hand-designed setting")} in hindsight'
  return f'Does {subject} beat {opponent} {_on(run)}?'


def _named(rule: Mapping[str, Any]) -> str:
  if rule['name'] != 'artifact':
    return rule['name']
  return f'the optimizer {pathlib.Path(rule["path"]).stem}'


def _origin(config: Mapping[str, Any]) -> str:
  spec, further = config['meta_train'], config['rule']['name'] == 'artifact'
  if not spec['num_generations']:
    return 'as it is' if further else 'with its initial meta-parameters'
  generations = counted(spec['num_generations'], 'generation')
  done = f'{"further " if further else ""}meta-trained for {generations}'
  ways = config['episodes']['num_ways']
  kind = f'{ways}-way tasks' if config['task'].get('name') == 'classification' else 'tasks'
  return f'{done} on {kind} of {spec["source"]}'


def _on(run: Workdir) -> str:
  """Where it is evaluated; calls classes unseen only if the run has checked that."""
  experiments = run.config['meta_evaluate']['experiments']
  places = ', '.join(f'{name}: {where["source"]}' for name, where in sorted(experiments.items()))
  from_file = run.config['rule']['name'] == 'artifact'
  rows = run.results or []
  seen = any('seen_classes' in row for row in rows if not row['hand_designed'])
  allowed = run.config['meta_evaluate'].get('allow_seen_classes') and not rows
  unseen = run.config['meta_train']['num_generations'] and not (from_file or seen or allowed)
  return f'on classes it never saw ({places})' if unseen else f'in {places}'


def of_rows(rows: pd.DataFrame) -> str:
  """What the results say, with the interval at the longest horizon of meta-training.

  Args:
    rows: from `results.frame`.
  """
  optimizer, *_ = results.learned(rows)
  own = rows[rows['optimizer'] == optimizer]
  where = _longest(own)
  place = f'{where.experiment} ({where.source}), K = {where.num_steps}'
  if own['difference_mean'].isna().any():
    accuracy = f'{100 * where.accuracy_mean:.1f} %{_interval(where)}'
    return (
      f'{optimizer} has an accuracy of {accuracy} in {place}, over {counted(where.tasks, "task")}.'
    )
  above = int((own['difference_low'] > 0).sum())
  below = int((own['difference_high'] < 0).sum())
  answer = 'Yes' if above == len(own) else 'In part' if above else 'No' if below else 'Undecided'
  open_ones = len(own) - above - below
  counts = [
    f'above the best hand-designed row in {above} of {counted(len(own), "column")}',
    f'below in {below}' if below else '',
    f'undecided in {open_ones}' if open_ones else '',
  ]
  best = rows[
    rows['best_hand_designed'].astype(bool)
    & (rows['experiment'] == where.experiment)
    & (rows['num_steps'] == where.num_steps)
  ].iloc[0]
  return (
    f'{answer}: {optimizer} is {", ".join(filter(None, counts))}; in {place}, the difference to '
    f'{results.label(best["optimizer"], _tuned(best))} is {table.difference(where)} points on '
    f'{counted(where.tasks, "task")}.'
  )


def _tuned(row: pd.Series) -> str:
  return '' if pd.isna(row['tuned']) else f'({row["tuned"]})'


def _longest(own: pd.DataFrame) -> Any:
  """The row of the first experiment at the longest horizon of its meta-training."""
  first = own[own['experiment'] == own['experiment'].iloc[0]]
  within = first[first['beyond_horizon'].isna()]
  chosen = within if len(within) else first
  return next(chosen.sort_values('num_steps').tail(1).itertuples())


def _interval(row: Any) -> str:
  if math.isnan(row.accuracy_low):
    return ''
  return f' [{100 * row.accuracy_low:.1f}, {100 * row.accuracy_high:.1f}]'


LIMITS = (
  'Brackets: 95 % bootstrap interval of the mean over tasks, paired where it is a difference; '
  'above and below: where that interval excludes zero. It is for this one pretraining and '
  'meta-training.'
)

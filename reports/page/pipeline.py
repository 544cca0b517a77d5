"""The page of a pipeline: its question, verdict, figures, rows and learned optimizer."""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from l2o.artifacts import arrays_file
from l2o.errors import InputError
from reports import figures, report, results, speedup, table, workdir
from reports.figures import of_run
from reports.page import parts, progress, verdict
from reports.page.blocks import (
  Code,
  Document,
  Drawings,
  Row,
  Section,
  Table,
  Text,
  Values,
  columns,
  counted,
  section,
)
from reports.workdir import Workdir

MOST = 600  # rows of the table; with more, only the best setting at each horizon
HINT = 'Point at a figure for its values.'


def document(run: Workdir) -> Document:
  """The page of a pipeline, finished or not."""
  title, status = f'{run.path.resolve().name}: pipeline', progress.said(run)
  asked = verdict.question(run)
  tail = [
    *learned_optimizer(run),
    *parts.times(run),
    *parts.config(run),
    *parts.versions(run),
  ]
  if run.results is None:
    return Document(title, status, asked, 'No verdict yet.', [], [*_so_far(run), *tail])
  rows = results.frame(of_run.rows_of(run))
  names = results.experiments(rows)
  main = [
    Drawings([figures.accuracy_against_steps(rows, name) for name in names], _caption(rows)),
    Text([verdict.LIMITS]),
  ]
  return Document(
    title,
    status,
    asked,
    verdict.of_rows(rows),
    main,
    [*section('Results', of_rows(rows)), *_speedup(rows), *_behaviour(run), *tail],
  )


def _caption(rows: pd.DataFrame) -> str:
  chosen = 'tuned on other tasks' if rows['tuned'].notna().any() else 'its best setting there'
  tasks = counted(rows['tasks'].iloc[0], 'task')
  return (
    f'Mean accuracy over {tasks} at each number of inner steps. A family: {chosen}; the six best '
    f'have a colour. Band: 95 % bootstrap interval of the learned optimizer. {HINT}'
  )


def of_rows(rows: pd.DataFrame) -> Table:
  """The rows of results.json as a table; `rows`: from `results.frame`."""
  shown, note = rows, f'± standard deviation over tasks. {_marks(rows)}'
  if len(rows) > MOST:
    best = rows.groupby(['experiment', 'family', 'num_steps'])['accuracy_mean'].idxmax()
    shown = rows.loc[rows.index.isin(best)]
    note += f' Of each grid the best setting; results.json has all {len(rows)} rows.'
  grids = bool((shown['optimizer'] != shown['family']).any())
  names = [
    'experiment',
    *(['family'] * grids),
    'optimizer',
    'K',
    'accuracy in %',
    '±',
    'difference',
  ]
  names += ['loss', 'remarks']
  numeric = ('K', 'accuracy in %', '±', 'difference', 'loss')
  heads = columns(*names, numeric=numeric, filters=('experiment', names[1], 'K'))
  return Table(heads, [_row(row, grids) for row in shown.itertuples()], note)


def _marks(rows: pd.DataFrame) -> str:
  return (
    'Difference: to the best hand-designed row of the same experiment and K, in points.'
    if rows['difference_mean'].notna().any()
    else ''
  )


def _row(row: Any, grids: bool) -> Row:
  cells = [
    row.experiment,
    *([row.family] * grids),
    row.optimizer,
    str(row.num_steps),
    f'{100 * row.accuracy_mean:.1f}',
    f'{100 * row.accuracy_std:.1f}',
    '' if pd.isna(row.difference_mean) or row.best_hand_designed else table.difference(row),
    _loss(row.loss_mean),
    ', '.join(_remarks(row)),
  ]
  return Row(cells, 'best' if row.best_hand_designed else '' if row.hand_designed else 'own')


def _remarks(row: Any) -> Iterator[str]:
  if row.best_hand_designed:
    yield 'best hand-designed'
  if not pd.isna(row.tuned):
    yield f'setting {row.tuned}'
  if not pd.isna(row.at_edge):
    yield 'at the edge of its grid'
  if not pd.isna(row.beyond_horizon):
    yield 'longer than it was meta-trained for'
  if not pd.isna(row.seen_classes):
    yield f'{row.seen_classes:.0f} classes seen before'
  if not pd.isna(row.paper):
    yield f'paper {100 * row.paper:.1f} %'


def _speedup(rows: pd.DataFrame) -> list[Section]:
  if not rows['hand_designed'].any():
    return []
  optimizer, *_ = results.learned(rows)
  names, families = results.experiments(rows), results.families(rows)
  ratios = [
    Row([name, family, _ratio(speedup.over(rows, name, optimizer, family))])
    for name, family in itertools.product(names, families)
    if len(results.envelope(rows, name, family))
  ]
  note = (
    'Steps the family takes to its highest accuracy, over those the learned optimizer takes to the '
    'same. inf: it is above that accuracy at its first horizon; 0: it does not get there.'
  )
  heads = columns('experiment', 'family', 'speed-up', numeric=['speed-up'], filters=['experiment'])
  return section(
    'Speed-up',
    Text([speedup.line(rows, name, optimizer) for name in names]),
    Drawings([figures.speedup_curve(rows, name) for name in names], HINT),
    Table(heads, ratios, note),
  )


def _ratio(ratio: float) -> str:
  return f'{ratio:.2f}' if np.isfinite(ratio) else 'inf'


def _behaviour(run: Workdir) -> list[Section]:
  trained, traced = report.meta_trained(run.path), report.traced(run.path)
  mixture = 'Share of each direction and norm of the step, on some tasks of the first experiment.'
  return [
    *section('Meta-training', *(Drawings([figure], HINT) for figure in trained.values())),
    *section('What it does', *(Drawings([figure], mixture) for figure in traced.values())),
  ]


def learned_optimizer(run: Workdir) -> list[Section]:
  """The learned optimizer's file: what it holds, and how to load it."""
  path, title = run / workdir.OPTIMIZER, 'Learned optimizer'
  if not path.is_file():
    return []
  try:
    theta, about = arrays_file.read(path, 'optimizer', 'run it again')
  except InputError as error:
    return section(title, Text([str(error)]))
  card = about['card']
  size = sum(leaf.size for _, leaf in arrays_file.leaves(theta))
  longest = run.config['meta_train']['max_steps']
  where = f'{run.path.resolve().name}/{workdir.OPTIMIZER}'
  items = [
    ('file', f'{workdir.OPTIMIZER}, {path.stat().st_size:,} bytes'),
    ('SHA-256', hashlib.sha256(path.read_bytes()).hexdigest()),
    ('rule', ', '.join(f'{key} = {value}' for key, value in about['spec'].items())),
    ('meta-parameters', f'{size:,}'),
    ('layers', f'{len(about["layers"])}, {sum(map(_size, about["layers"].values())):,} parameters'),
    ('revision', str(card.get('revision', parts.UNKNOWN))),
  ]
  for start, weights in card.get('weights', {}).items():
    items.append((f'weights of {start}', f'{weights["file"]}, SHA-256 {weights["sha256"]}'))
  for source, classes in card.get('classes', {}).items():
    for part, names in classes.items():
      items.append((f'{source}, {part}', f'{len(names)}: {", ".join(map(str, names))}'))
  load = f"import l2o\n\ntx = l2o.load('{where}', params, num_steps={longest})"
  return section(title, Code(load), Values(items))


def _size(shape: list[int]) -> int:
  return int(np.prod(shape))


def _so_far(run: Workdir) -> list[Section]:
  """What an unfinished run has measured so far."""
  spec = run.config['meta_evaluate']
  logged = results.read_lines(run / 'meta_evaluate' / workdir.METRICS)
  places = itertools.product(
    sorted(spec['experiments']), ['the learned one', *spec['baselines']], spec['num_steps']
  )
  known = {row['step']: row for row in logged}
  rows = [
    Row([experiment, optimizer, str(steps), _percent(row.get('accuracy')), _loss(row.get('loss'))])
    for number, (experiment, optimizer, steps) in enumerate(places, start=1)
    if (row := known.get(number))
  ]
  names = ('experiment', 'optimizer', 'K', 'accuracy in %', 'loss')
  heads = columns(*names, numeric=names[2:], filters=names[:3])
  note = 'Means over tasks, and over the settings of a grid that is not tuned.'
  measured = Table(heads, rows, note) if rows else None
  return [*_behaviour(run), *section('Measured so far', measured)]


def _loss(value: float | None) -> str:
  return 'not finite' if value is None or pd.isna(value) else f'{value:.4g}'


def _percent(value: float | None) -> str:
  return 'not finite' if value is None else f'{100 * value:.1f}'

"""The page of a sweep, of pipelines or of training jobs: its rows compared, and its runs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from reports import bootstrap, sweep, training, workdir
from reports.figures import of_run
from reports.page import job, parts, progress
from reports.page.blocks import (
  Document,
  Drawings,
  Link,
  Row,
  Section,
  Table,
  columns,
  counted,
  section,
)
from reports.workdir import Workdir

NAMED = 6  # rows that the question names
HINT = 'Point at a figure for its values.'


def document(run: Workdir) -> Document:
  """The page of a sweep, finished or not."""
  title, status = f'{run.path.resolve().name}: sweep', progress.said(run)
  compared = _jobs(run) if run.is_job else _pipelines(run)
  asked, answer, main, rows = compared
  tail = [*runs(run), *parts.config(run), *parts.versions(run)]
  return Document(title, status, asked, answer, main, [*rows, *tail])


def _pipelines(run: Workdir) -> tuple[str, str, list[Any], list[Section]]:
  spec, changes = run.config['meta_evaluate'], len(run.config['sweep'])
  name = min(spec['experiments'])
  where = f'{name} ({spec["experiments"][name]["source"]}), K = {max(spec["num_steps"])}'
  asked = f'Which of {counted(changes, "row")} differ in accuracy from the base, in {where}?'
  if run.results is None:
    return asked, 'No verdict yet.', [], []
  drawn = Drawings([sweep.figure(run.results)], f'Differences to the base. {HINT}')
  return asked, _changed(run.results), [drawn], section('Rows', _changes(run.results))


def _changed(rows: Sequence[Mapping[str, Any]]) -> str:
  known = [row for row in rows if 'difference_mean' in row]
  if not known:
    return 'No row can be compared with the base.'
  above = sum(row['difference_low'] > 0 for row in known)
  below = sum(row['difference_high'] < 0 for row in known)
  top = max(known, key=lambda row: abs(row['difference_mean']))
  return (
    f'{above} of {len(known)} are above the base and {below} below it, with a 95 % interval that '
    f'excludes zero; the largest difference is that of {top["diff"]}: '
    f'{_points(top, "difference", "+")} points over {counted(top["seeds"], "seed")}.'
  )


def _points(row: Mapping[str, Any], name: str, sign: str = '') -> str:
  if row.get(f'{name}_mean') is None:
    return ''
  mean, low, high = (100 * row[f'{name}_{part}'] for part in ('mean', 'low', 'high'))
  return f'{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]'


def _changes(rows: Sequence[Mapping[str, Any]]) -> Table:
  names = ('table', 'row', 'accuracy in %', 'to the base', 'paper in %', 'seeds')
  heads = columns(*names, numeric=names[2:], filters=['table'])
  shown = [
    Row(
      [
        row['table'],
        row['diff'],
        _points(row, 'accuracy') or 'failed',
        _points(row, 'difference', '+'),
        '' if row['paper'] is None else f'{row["paper"]:.1f}',
        str(row['seeds']),
      ],
      'own' if row['diff'] == sweep.BASE else '',
    )
    for row in rows
  ]
  note = (
    'Brackets: 95 % bootstrap interval over seeds, then tasks; with one seed it covers no other.'
  )
  return Table(heads, shown, note)


def _jobs(run: Workdir) -> tuple[str, str, list[Any], list[Section]]:
  steps, names = run.config['train']['num_steps'], [row['table'] for row in run.config['sweep']]
  subject = job.subject(run.config)
  which = f'{", ".join(names[:-1])} or {names[-1]}' if 1 < len(names) <= NAMED else 'which row'
  asked = f'What brings the loss of {subject} lowest in {counted(steps, "step")}: {which}?'
  table = of_run.jobs_records(run)
  if table.empty:
    return asked, 'No verdict yet.', [], []
  papers = {row['table']: row['paper'] for row in run.config['sweep']}
  rows = run.results or training.summarize(
    [training.Row(name, paper=papers[name]) for name in names], table
  )
  drawn = of_run.of_jobs(run)
  answer = _lowest(table, run.config['seed'])
  if run.results is None:
    answer = f'So far: {answer}'
  caption = f'Lines: mean over seeds; bands: from the lowest to the highest. {HINT}'
  return (
    asked,
    answer,
    [Drawings(list(drawn.values()), caption)],
    [*section('Rows', _optimizers(rows)), *_weights(table)],
  )


def _lowest(table: pd.DataFrame, seed: int) -> str:
  best = table[table['measure'] == 'best/loss'].astype({'value': float})
  of_rows = {row: values.to_numpy() for row, values in best.groupby('row', sort=False)['value']}
  order = sorted((values.mean(), row) for row, values in of_rows.items())
  if not order:
    return 'no run has a finite evaluation loss.'
  said = [f'{row} ({_mean(of_rows[row], seed)})' for _, row in order[:2]]
  after = f', before {said[1]}' if len(said) > 1 else ''
  return f'{said[0]} has the lowest evaluation loss{after}.'


def _mean(values: Any, seed: int) -> str:
  if len(values) == 1:
    return f'{values[0]:.4g}, one seed'
  low, high = bootstrap.interval(values, of_run.SAMPLES, seed)
  seeds = f'mean over {len(values)} seeds with its 95 % bootstrap interval'
  return f'{values.mean():.4g} [{low:.4g}, {high:.4g}], {seeds}'


def _optimizers(rows: Sequence[Mapping[str, Any]]) -> Table:
  measures = sorted({name for row in rows for name in row['measures']})
  reported = list(dict.fromkeys(name for row in rows for name in row.get('paper', ())))
  papers = [f'{name}, paper' for name in reported]
  names = ['row', 'seeds', 'last loss', 'lowest loss', *measures, *papers, 'failed']
  heads = columns(*names, numeric=names[1:-1])
  shown = [
    Row([
      row['optimizer'],
      str(row['seeds']),
      *(_plus_minus(row[name]) for name in ('final', 'best')),
      *(_plus_minus(row['measures'].get(name)) for name in measures),
      *(_value(row.get('paper', {}).get(name, math.nan)) for name in reported),
      '; '.join(row['failed']),
    ])
    for row in rows
  ]  # fmt: skip
  note = (
    'Losses in the evaluation: mean ± standard deviation over seeds. The other measures are of the '
    'model with the lowest loss.'
  )
  return Table(heads, shown, note)


def _weights(table: pd.DataFrame) -> list[Section]:
  cells = training.hub_weight_cells(table)
  if cells.empty:
    return []
  names = list(cells.columns)
  heads = columns(*names, numeric=names[2:], filters=names[:1])
  rows = [Row(row) for row in cells.to_numpy().tolist()]
  return section("HUB's weights", Table(heads, rows, training.HUB_LEGEND))


def _plus_minus(value: Mapping[str, float] | None) -> str:
  return f'{value["mean"]:.4g} ± {value["std"]:.2g}' if value else 'not finite'


def _value(value: float | None) -> str:
  if value is None:
    return 'not finite'
  return '' if math.isnan(value) else f'{value:.4g}'


def runs(run: Workdir) -> list[Section]:
  """The runs that have begun, with their pages and times."""
  rows = []
  for row, seeds in run.seeds.items():
    for seed, path in seeds.items():
      one = workdir.load(path)
      known = [time['seconds'] for stage in progress.stages(one) for time in stage.times]
      state = 'ended' if one.results is not None else progress.where(one)
      there = (path / workdir.PAGE).is_file()
      href = (path / workdir.PAGE).relative_to(run.path).as_posix()
      name = Link(row, href) if there else row
      rows.append(Row([name, str(seed), state, f'{sum(known):.1f}' if known else parts.UNKNOWN]))
  heads = columns('run', 'seed', 'state', 'seconds', numeric=['seed', 'seconds'], filters=['state'])
  return section('Runs', Table(heads, rows) if rows else None)

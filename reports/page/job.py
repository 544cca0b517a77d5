"""The page of a training job: its losses, and its measures at the end."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from reports import records, results, training, workdir
from reports.figures import of_run
from reports.page import parts, progress
from reports.page.blocks import Document, Drawings, Row, Section, Table, columns, counted, section
from reports.workdir import Workdir

HINT = 'Point at a figure for its values.'


def document(run: Workdir) -> Document:
  """The page of a training job, finished or not."""
  found = run.results
  table = records_of(run)
  steps = run.config['train']['num_steps']
  name = of_run.optimizer_of(run.config)
  return Document(
    title=f'{run.path.resolve().name}: training job',
    status=progress.said(run),
    question=(
      f'How low does {name} bring the loss of {subject(run.config)} in {counted(steps, "step")}?'
    ),
    verdict=_verdict(found, steps) if found else 'No verdict yet.',
    main=_figures(name, table, run),
    sections=[
      *section('Measured', _measured(found) if found else None),
      *logged(table),
      *parts.times(run),
      *parts.config(run),
      *parts.versions(run),
    ],
  )


def subject(config: Mapping[str, Any]) -> str:
  """What is trained: a model on data, or a function."""
  model, data = config['model'].get('name'), config['batch_source'].get('name')
  return f'{model} on {data}' if model else f'the task {config["task"]["name"]}'


def records_of(run: Workdir) -> pd.DataFrame:
  """The records of a job; for an unfinished job, what it has logged so far."""
  name = of_run.optimizer_of(run.config)
  if run.results is not None and (run / records.FILE).is_file():
    return records.gather({name: [records.read(run / records.FILE, of_run.AGAIN)]})
  so_far = results.read_lines(run / 'train' / workdir.METRICS)
  by_hand = run.config['rule']['name'] == 'hand_designed'
  known = {'optimizer': name, 'hand_designed': by_hand, 'seed': run.config['seed']}
  return records.gather({name: [records.of_log(so_far, **known)]})


def _verdict(found: Mapping[str, Any], steps: int) -> str:
  final = _loss(found['final'].get('eval_loss'))
  best = found['best']
  lowest = (
    f'its lowest evaluation loss is {_loss(best["loss"])}, at step {best["step"]} of {steps}'
    if best
    else ''
  )
  tested = found['test'] and found['test'].get('loss')
  said = [
    lowest,
    f'the last one is {final}',
    f'the test loss of the best model is {_loss(tested)}' if tested is not None else '',
    'one run, so there is no interval',
  ]
  sentence = '; '.join(filter(None, said))
  return f'{sentence[0].upper()}{sentence[1:]}.'


def _loss(value: float | None) -> str:
  return 'not finite' if value is None else f'{value:.4g}'


def _figures(name: str, table: pd.DataFrame, run: Workdir) -> list[Drawings]:
  drawn = training.make([training.Row(name)], table)[1] if len(table) else {}
  if (table['measure'] == 'eval_loss').any():
    drawn['evaluation'] = training.curves([name], table, 'eval_loss', 'loss in the evaluation')
  drawn |= of_run.pictures_of({name: run.path})
  return [Drawings(list(drawn.values()), f'What was logged. {HINT}')] if drawn else []


def _measured(found: Mapping[str, Any]) -> Table:
  ends = {'final': 'after the last step', 'best': 'at the lowest loss', 'test': 'test, best model'}
  rows = [
    Row([said, measure.removeprefix('eval_'), _loss(value)])
    for part, said in ends.items()
    for measure, value in (found[part] or {}).items()
    if measure != 'step'
  ]
  rows.append(Row(['whole run', 'restarts', str(found['restarts'])]))
  return Table(columns('when', 'measure', 'value', numeric=['value'], filters=['when']), rows)


def logged(table: pd.DataFrame) -> list[Section]:
  """The last logged value of each measure."""
  kept = table[~table['measure'].str.contains('/')]
  last = kept.groupby('measure', sort=False).tail(1)
  rows = [Row([row.measure, str(row.K), f'{row.value:.4g}']) for row in last.itertuples()]
  heads = columns('measure', 'step', 'value', numeric=['step', 'value'])
  return section('Last logged', Table(heads, rows) if rows else None)

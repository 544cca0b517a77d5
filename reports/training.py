"""The table and the figures of training jobs that differ in their optimizer, over seeds.

They read the records of finished jobs, from `reports.records.gather`: 'row' is a row's label.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports import tables
from reports.figures import style
from reports.figures.style import COLOURS, INK, End

LABELS = {
  'accuracy': 'accuracy in the evaluation',
  'top_5_accuracy': 'top-5 accuracy in the evaluation',
  'psnr': 'PSNR in dB',
}
RATE = 'effective_learning_rate'
BAND = 0.2  # opacity
DIAGNOSTICS = ('restarts', 'taken_hand_designed', 'taken_learned', 'skipped')  # at the last step
REDUCE = {'min': np.min, 'mean': np.mean, 'max': np.max}  # how HUB's weights are summarized

HUB_LEGEND = 'The weight of the hand-designed side: over entries, logged steps and seeds.'


class Row(NamedTuple):
  """One row of a sweep: the runs of one optimizer."""

  label: str
  failed: Sequence[str] = ()  # error messages of the failed runs
  paper: Mapping[str, float | None] | None = None  # measure -> a paper's value; None: not finite


def summarize(rows: Sequence[Row], records: pd.DataFrame) -> list[dict[str, Any]]:
  """Mean and standard deviation over seeds: of the last and the lowest evaluation loss, and of the
  other measures of the model with the lowest loss, in the evaluation and in the test.

  Returns:
    One dict per row; losses are None if no seed finished. 'paper' has the paper's values.
  """
  wide = records.astype({'value': float})  # statistics in double precision
  return [_summary(row, wide[wide['row'] == row.label]) for row in rows]


def make(rows: Sequence[Row], records: pd.DataFrame) -> tuple[str, dict[str, Figure], str]:
  """The table, the figures (losses, other measures, the path if there is one), HUB's weights."""
  logged, labels, drawn = set(records['measure']), [row.label for row in rows], {}
  if 'loss' in logged:
    drawn['training'] = curves(labels, records, 'loss', 'training loss')
  for name in sorted({*_measures(logged, 'best')} - {'mse'}):  # a multiple of the loss
    label = LABELS.get(name, name)
    drawn[name] = curves(labels, records, f'eval_{name}', label, log=False)
  if 'x_2' in logged:
    drawn['path'] = paths(records)
  return render(summarize(rows, records)), drawn, hub_weights(records)


def render(rows: Sequence[Mapping[str, Any]]) -> str:
  """A Markdown table."""
  measures = sorted({name for row in rows for name in row['measures']})
  reported = list(dict.fromkeys(name for row in rows for name in row.get('paper', ())))
  names = ['optimizer', 'seeds', 'last loss', 'lowest loss', *measures]
  names += [f'{name}, paper' for name in reported]
  names += ['effective learning rate', 'of the last step']
  lines = []
  for row in rows:
    diagnostics = ', '.join(f'{name} {value:.4g}' for name, value in row['diagnostics'].items())
    losses = [_plus_minus(row[name]) for name in ('final', 'best')]
    others = [_plus_minus(row['measures'].get(name)) for name in measures]
    rate = f'{row[RATE]["mean"]:.3g}' if row[RATE] else ''
    others += [_reported(row, name) for name in reported]
    lines.append([row['optimizer'], str(row['seeds']), *losses, *others, rate, diagnostics])
    lines += [['', 'failed', reason, *[''] * (len(names) - 3)] for reason in row['failed']]
  legend = (
    'Losses in the evaluation: mean ± standard deviation over seeds.'
    + f' {", ".join(measures)}: of the model with the lowest loss.' * bool(measures)
    + ' Effective learning rate: norm of the update over that of the gradient, median over steps.'
  )
  table = tables.render(pd.DataFrame(lines, columns=names), 'markdown')
  return '\n'.join([table, '', legend])


def hub_weights(records: pd.DataFrame) -> str:
  """A Markdown table of HUB's weights (on the hand-designed side) by layer; '' without HUB."""
  cells = hub_weight_cells(records)
  return '' if cells.empty else '\n'.join([tables.render(cells, 'markdown'), '', HUB_LEGEND])


def hub_weight_cells(records: pd.DataFrame) -> pd.DataFrame:
  """The cells of the table of HUB's weights; no rows without HUB."""
  parts = records['measure'].str.extract(r'^weight_(?P<part>min|mean|max)/(?P<layer>.+)$')
  found = records.astype({'value': float}).join(parts).dropna(subset='layer')
  cells = []
  for (row, layer), of_layer in found.groupby(['row', 'layer'], sort=False):
    weights = {part: values.to_numpy() for part, values in of_layer.groupby('part')['value']}
    cells.append([row, layer, *(f'{reduce(weights[part]):.3g}' for part, reduce in REDUCE.items())])
  names = ['optimizer', 'layer', 'lowest weight', 'mean weight', 'highest weight']
  return pd.DataFrame(cells, columns=names)


def curves(
  labels: Sequence[str], records: pd.DataFrame, name: str, label: str, log: bool = True
) -> Figure:
  """A measure against the step: mean over seeds, with a band from lowest to highest."""
  chosen = records[records['measure'] == name].astype({'value': float})
  learned = set(chosen.loc[~chosen['hand_designed'], 'row'])
  own = next((row for row in labels if row in learned), None)
  rivals = [row for row in labels if row not in learned] if learned else []
  lines = style.own_and_others(labels, own, rivals)
  with style.context():
    figure, (axes,) = style.panels(1)
    band = min(BAND, 1 / len(labels))  # many overlapping bands would hide the lines
    ends = [_draw(axes, chosen[chosen['row'] == row], row, band, **lines[row]) for row in labels]
    axes.set(xlabel='step', ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if log:
      style.log_values(axes)
    if 'accuracy' in name:
      axes.yaxis.set_major_formatter(style.percent())
    style.name_ends(axes, [end._replace(bold=end.name in learned) for end in ends if end])
  return figure


def paths(records: pd.DataFrame) -> Figure:
  """The path of two coordinates for the first seed, one panel per optimizer."""
  shown = list(records[records['measure'].isin(['x_1', 'x_2'])].groupby('row', sort=False))
  with style.context(legend=True):
    figure = Figure(figsize=(1.7 * len(shown) + 0.4, 2.2))
    panels = figure.subplots(1, len(shown), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (row, seeds), colour in zip(panels, shown, itertools.cycle(COLOURS), strict=False):
      first = seeds[seeds['seed'] == seeds['seed'].iloc[0]]
      path = first.pivot(index='K', columns='measure', values='value')
      axes.plot(path['x_1'], path['x_2'], color=colour, lw=0.8)
      axes.plot(path['x_1'].iloc[:1], path['x_2'].iloc[:1], 'o', color=INK, ms=3)
      axes.plot([0], [0], '+', color=INK, ms=7)
      axes.set(title=row, xlabel='$x_1$')
    panels[0].set_ylabel('$x_2$')
  return figure


def _summary(row: Row, records: pd.DataFrame) -> dict[str, Any]:
  seeds = records['seed'].nunique()
  values = {
    name: [of_seed.to_numpy() for _, of_seed in table.groupby('seed', sort=False)['value']]
    for name, table in records.groupby('measure', sort=False)
  }  # measure -> values [steps] of each seed that has it

  def last(name: str) -> list[float]:
    return [of_seed[-1] for of_seed in values.get(name, ())]

  found: dict[str, Any] = {'optimizer': row.label, 'seeds': seeds}
  found |= {'failed': list(row.failed), 'diagnostics': {}}
  if row.paper:
    found['paper'] = dict(row.paper)
  found['final'] = _mean_std(last('final/eval_loss'))
  found['best'] = _mean_std(best) if len(best := last('best/loss')) == seeds else None
  found['measures'] = {name: _mean_std(last(f'best/{name}')) for name in _measures(values, 'best')}
  tested = _measures(values, 'test') or ['loss'] * ('test/loss' in values)
  found['measures'] |= {f'test {name}': _mean_std(last(f'test/{name}')) for name in tested}
  found[RATE] = _mean_std([np.median(of_seed) for of_seed in values.get(RATE, ())])
  for name in DIAGNOSTICS:
    if seeds and len(last(name)) == seeds:
      found['diagnostics'][name] = float(np.mean(last(name)))
  return found


def _draw(axes: Axes, records: pd.DataFrame, label: str, band: float, **line: Any) -> End | None:
  """Draws the line of one row and one measure; returns its end, if it has one."""
  if records.empty:
    return None
  # A seed whose log was damaged or deleted has fewer steps; its results are in the table.
  steps = records.groupby('seed')['K'].transform('size')
  seeds = records[steps == steps.max()].pivot(index='K', columns='seed', values='value')
  mean, low, high = (getattr(seeds, name)(axis=1, skipna=False) for name in ('mean', 'min', 'max'))
  axes.plot(mean, label=label, **line)
  axes.fill_between(seeds.index, low, high, color=line['color'], alpha=band, lw=0)
  known = mean[np.isfinite(mean)]
  if known.empty:
    return None
  return End(known.index[-1], known.iloc[-1], label, line['color'])


def _measures(names: Iterable[str], part: str) -> list[str]:
  """The measures of one of the evaluations, except the loss."""
  found = [name.removeprefix(f'{part}/') for name in names if name.startswith(f'{part}/')]
  return [name for name in found if name != 'loss']


def _mean_std(values: Sequence[float]) -> dict[str, float] | None:
  """Mean and standard deviation; None if there are no values or one is not finite."""
  if not len(values) or not np.all(np.isfinite(values)):
    return None
  return {'mean': float(np.mean(values)), 'std': float(np.std(values))}


def _plus_minus(value: Mapping[str, float] | None) -> str:
  return f'{value["mean"]:.4g} ± {value["std"]:.2g}' if value else 'not finite'


def _reported(row: Mapping[str, Any], name: str) -> str:
  """What a paper reports; '' if nothing."""
  if name not in row.get('paper', ()):
    return ''
  value = row['paper'][name]
  return 'not finite' if value is None else f'{value:.4g}'

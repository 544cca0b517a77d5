"""The table and the figures of training jobs that differ in their optimizer, over seeds."""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures import COLOURS, STYLE

LABELS = {'accuracy': 'accuracy in the evaluation', 'psnr': 'PSNR in dB'}
HUB_WEIGHTS = 'hub_weights.txt'  # a table of its own
RATE = 'effective_learning_rate'
DIAGNOSTICS = ('restarts', 'taken_hand_designed', 'taken_learned', 'skipped')  # of the last step


class Runs(NamedTuple):
  """One row of a sweep: the runs of one optimizer."""

  label: str
  metrics: Sequence[Sequence[Mapping[str, Any]]]  # of each seed that ended, the rows it logged
  results: Sequence[Mapping[str, Any]]  # likewise its results.json
  failed: Sequence[str]  # the error messages of the others


def summarize(rows: Sequence[Runs]) -> list[dict[str, Any]]:
  """Mean and standard deviation over seeds: of the last and the lowest evaluation loss, and of the
  other measures of the model with the lowest one, in the evaluation and in the test.

  Returns:
    One dict a row; its losses are None where no seed ended.
  """
  return [_summary(row) for row in rows]


def write(rows: Sequence[Runs], folder: pathlib.Path) -> str:
  """Writes table.txt and the figures: losses, other measures, and the path if there is one."""
  text = render(summarize(rows))
  (folder / 'table.txt').write_text(text + '\n')
  (folder / 'figures').mkdir(exist_ok=True)
  drawn = {}
  if any('loss' in logged for row in rows for seed in row.metrics for logged in seed):
    drawn['training'] = curves(rows, 'loss', 'training loss')
  measures = {name for row in rows for seed in row.results for name in _measures(seed['best'])}
  for name in sorted(measures - {'mse'}):  # a multiple of the loss
    drawn[name] = curves(rows, f'eval_{name}', LABELS.get(name, name), log=False)
  weights = hub_weights(rows)
  if weights:
    (folder / HUB_WEIGHTS).write_text(weights + '\n')
  if any('x_2' in logged for row in rows for seed in row.metrics for logged in seed):
    drawn['path'] = paths(rows)
  for name, figure in drawn.items():
    figure.savefig(folder / 'figures' / f'{name}.png', dpi=120)
  return text


def render(rows: Sequence[Mapping[str, Any]]) -> str:
  """A Markdown table."""
  measures = sorted({name for row in rows for name in row['measures']})
  names = ['optimizer', 'seeds', 'last loss', 'lowest loss', *measures]
  names += ['effective learning rate', 'of the last step']
  lines = [_line(names), '|---' * len(names) + '|']
  for row in rows:
    diagnostics = ', '.join(f'{name} {value:.4g}' for name, value in row['diagnostics'].items())
    losses = [_plus_minus(row[name]) for name in ('final', 'best')]
    others = [_plus_minus(row['measures'].get(name)) for name in measures]
    rate = f'{row[RATE]["mean"]:.3g}' if row[RATE] else ''
    lines.append(_line([row['optimizer'], row['seeds'], *losses, *others, rate, diagnostics]))
    lines += [_line(['', 'failed', reason, *[''] * (len(names) - 3)]) for reason in row['failed']]
  legend = (
    'Losses in the evaluation: mean ± standard deviation over seeds.'
    + f' {", ".join(measures)}: of the model with the lowest loss.' * bool(measures)
    + ' Effective learning rate: norm of the update over that of the gradient, median over steps.'
  )
  return '\n'.join([*lines, '', legend])


def hub_weights(rows: Sequence[Runs]) -> str:
  """A Markdown table of HUB's weights (of its hand-designed side) by layer; '' without a HUB."""
  lines = []
  for row in rows:
    for layer in _layers(row):
      found = [
        np.concatenate([_column(seed, f'weight_{name}/{layer}')[1] for seed in row.metrics])
        for name in ('min', 'mean', 'max')
      ]
      low, mean, high = found[0].min(), found[1].mean(), found[2].max()
      lines.append(_line([row.label, layer, *(f'{x:.3g}' for x in (low, mean, high))]))
  if not lines:
    return ''
  names = ['optimizer', 'layer', 'lowest weight', 'mean weight', 'highest weight']
  legend = 'The weight of the hand-designed side: over entries, logged steps and seeds.'
  return '\n'.join([_line(names), '|---' * len(names) + '|', *lines, '', legend])


def curves(rows: Sequence[Runs], name: str, label: str, log: bool = True) -> Figure:
  """A metric against the step: mean over seeds, and a band from the lowest to the highest."""
  styles = itertools.chain.from_iterable(
    itertools.repeat(x, len(COLOURS)) for x in ('-', '--', ':')
  )
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(5.6, 3.4))
    axes = figure.subplots()
    for colour, style, row in zip(itertools.cycle(COLOURS), styles, rows, strict=False):
      _draw(axes, row, name, colour, style)
    axes.set(xlabel='step', ylabel=label, yscale='log' if log else 'linear')
    figure.legend(loc='outside right center')
  return figure


def paths(rows: Sequence[Runs]) -> Figure:
  """The path of two coordinates under the first seed, a panel for each optimizer."""
  shown = [row for row in rows if row.metrics]
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(2.2 * len(shown) + 0.4, 2.6))
    panels = figure.subplots(1, len(shown), squeeze=False, sharex=True, sharey=True)[0]
    for axes, row, colour in zip(panels, shown, itertools.cycle(COLOURS), strict=False):
      x, y = (_column(row.metrics[0], name)[1] for name in ('x_1', 'x_2'))
      axes.plot(x, y, color=colour, lw=0.8)
      axes.plot(x[:1], y[:1], 'o', color='black', ms=3)
      axes.plot([0], [0], '+', color='black', ms=7)
      axes.set(title=row.label, xlabel='$x_1$')
    panels[0].set_ylabel('$x_2$')
  return figure


def _summary(row: Runs) -> dict[str, Any]:
  found: dict[str, Any] = {'optimizer': row.label, 'seeds': len(row.metrics)}
  found |= {'failed': list(row.failed), 'diagnostics': {}}
  found['final'] = _over([seed['final'] for seed in row.results], 'eval_loss')
  best = [seed['best'] for seed in row.results if seed['best']]
  found['best'] = _over(best, 'loss') if len(best) == len(row.results) else None
  found['measures'] = {name: _over(best, name) for name in _measures(*best[:1])}
  test = [seed['test'] for seed in row.results if seed['test']]
  found['measures'] |= {
    f'test {name}': _over(test, name) for name in _measures(*test[:1]) or (test[:1] and ['loss'])
  }
  rates = [_column(seed, RATE)[1] for seed in row.metrics]
  found[RATE] = _mean_std([np.median(seed) for seed in rates if len(seed)])
  for name in DIAGNOSTICS:
    last = [_column(seed, name)[1] for seed in row.metrics]
    if last and all(len(values) for values in last):
      found['diagnostics'][name] = float(np.mean([values[-1] for values in last]))
  return found


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
  """(steps, values) of the rows that have it; non-finite values are NaN."""
  there = [row for row in rows if name in row]
  return np.array([row['step'] for row in there]), np.array([row[name] for row in there], float)


def _draw(axes: Axes, row: Runs, name: str, colour: str, style: str) -> None:
  columns = [_column(seed, name) for seed in row.metrics]
  steps = max((steps for steps, _ in columns), key=len, default=np.empty(0))
  if not len(steps):
    return
  # A seed whose log was damaged or deleted has fewer rows; its results are in the table.
  values = np.stack([values for logged, values in columns if len(logged) == len(steps)])
  axes.plot(steps, values.mean(axis=0), color=colour, ls=style, lw=1.4, label=row.label)
  axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, lw=0)


def _measures(best: Mapping[str, Any] | None = None) -> list[str]:
  """The measures of an evaluation, apart from the loss."""
  return [name for name in best or () if name not in ('step', 'loss')]


def _over(found: Sequence[Mapping[str, Any]], name: str) -> dict[str, float] | None:
  return _mean_std([np.nan if seed[name] is None else seed[name] for seed in found])


def _mean_std(values: Sequence[float]) -> dict[str, float] | None:
  """None where there are no values or one is not finite."""
  if not len(values) or not np.all(np.isfinite(values)):
    return None
  return {'mean': float(np.mean(values)), 'std': float(np.std(values))}


def _layers(row: Runs) -> list[str]:
  first = next((rows for seed in row.metrics for rows in seed if 'loss' in rows), {})
  return [name.partition('/')[2] for name in first if name.startswith('weight_mean')]


def _line(cells: Sequence[Any]) -> str:
  return '| ' + ' | '.join(map(str, cells)) + ' |'


def _plus_minus(value: Mapping[str, float] | None) -> str:
  return f'{value["mean"]:.4g} ± {value["std"]:.2g}' if value else 'not finite'

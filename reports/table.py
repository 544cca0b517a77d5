"""The table of a run, as text."""

from reports import results


def render(rows: results.Results) -> str:
  """Optimizers by horizons: mean ± standard deviation over tasks in %, the best baselines marked.

  A learned optimizer has a second line: its paired difference to the best hand-designed setting
  of each column, in points, with the 95 % bootstrap interval.
  """
  parts = [_experiment(rows, name) for name in results.experiments(rows)]
  legend = (
    '±: standard deviation over tasks. *: best hand-designed setting of the column.\n'
    '<: best of its family at the edge of its grid; a wider grid may have a better one.\n'
    '†: beyond the horizons of meta-training.\n'
    'difference: points to that setting on the same tasks, with the 95 % bootstrap interval of its '
    'mean over\n  tasks (of this one pretraining and meta-training)'
  )
  return '\n\n'.join([*parts, legend])


def _experiment(rows: results.Results, experiment: str) -> str:
  chosen = [row for row in rows if row['experiment'] == experiment]
  horizons = sorted({row['num_steps'] for row in chosen})
  cells = {(row['optimizer'], row['num_steps']): row for row in chosen}
  beyond = {row['num_steps'] for row in chosen if 'beyond_horizon' in row}
  lines = [[f'K = {steps}{"†" if steps in beyond else ""}' for steps in horizons]]
  names = ['optimizer']
  for optimizer in dict.fromkeys(row['optimizer'] for row in chosen):
    of_row = [cells[optimizer, steps] for steps in horizons]
    names.append(optimizer)
    lines.append([_cell(row) for row in of_row])
    if not of_row[0]['hand_designed'] and 'difference_mean' in of_row[0]:
      names.append('  difference')
      lines.append([_difference(row) for row in of_row])
    if 'paper' in of_row[0]:
      names.append('  paper')
      lines.append([f'{100 * row["paper"]:.1f}        ' for row in of_row])
  title = (
    f'Experiment {experiment}: {chosen[0]["source"]}, {chosen[0]["tasks"]} tasks, accuracy in %'
  )
  return '\n'.join([title, *_align(names, lines), *_notes(chosen)])


def _notes(rows: results.Results) -> list[str]:
  """A line for each optimizer that had been trained on classes it is evaluated on."""
  seen = {row['optimizer']: row['seen_classes'] for row in rows if 'seen_classes' in row}
  return [
    f'note: {optimizer} is evaluated on {count} classes that it or its network had seen before'
    for optimizer, count in seen.items()
  ]


def _cell(row: dict) -> str:
  best = '*' if row['best_hand_designed'] else ' '
  edge = '<' if 'at_edge' in row else ' '
  return f'{100 * row["accuracy_mean"]:.1f} ± {100 * row["accuracy_std"]:4.1f}{best}{edge}'


def _difference(row: dict) -> str:
  mean, low, high = (100 * row[f'difference_{part}'] for part in ('mean', 'low', 'high'))
  return f'{mean:+.1f} [{low:+.1f}, {high:+.1f}] '


def _align(names: list[str], lines: list[list[str]]) -> list[str]:
  first = max(map(len, names))
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return [
    '  '.join(
      [name.ljust(first), *(c.rjust(w) for c, w in zip(line, widths, strict=True))]
    ).rstrip()
    for name, line in zip(names, lines, strict=True)
  ]

"""The page and the text of a comparison."""

import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from l2o.errors import InputError
from reports import profiles, report, results, tables, workdir
from reports.compare import measures
from reports.compare.runs import Group, apart, differing
from reports.figures import style
from reports.page.blocks import Document, Drawings, Row, Section, Table, Text, columns, section

CURVES = {  # measure of metrics.jsonl -> its name on an axis
  'loss': 'loss',
  'eval_loss': 'loss in the evaluation',
  'accuracy': 'accuracy',
  'effective_learning_rate': 'effective learning rate',
}
WIDEST = 40  # characters of a config value
NOTE = (
  'Difference: to the first row on the same tasks and seeds, with its 95 % bootstrap interval over '
  'seeds, then tasks; accuracy in points. Better: fraction of pairs in which it is, half of one '
  'where equal.'
)


def text(groups: Sequence[Group]) -> str:
  """Tables of the runs and of their differences, as plain text."""
  parts = [_plain(_overview(groups))]
  shown = _differences(groups)
  if shown.rows:
    parts += [_plain(shown), NOTE]
  return '\n\n'.join([*parts, *_sentences(groups)])


def document(groups: Sequence[Group]) -> Document:
  """The page of a comparison."""
  unfinished = [run.name for group in groups for run in group.runs if run.state != 'ended']
  shown = _differences(groups)
  return Document(
    title='Comparison of runs',
    status=f'Unfinished: {", ".join(unfinished)}.' if unfinished else '',
    question=f'How do {len(groups)} configs differ, and what does it change?',
    verdict=_verdict(groups),
    main=[_overview(groups)],
    sections=[
      *section('Differences', *([shown] if shown.rows else []), *_said(groups)),
      *_profiles(groups),
      *_curves(groups),
      *_mixtures(groups),
    ],
  )


def _said(groups: Sequence[Group]) -> list[Text]:
  found = _sentences(groups)
  return [Text(found)] if found else []


def _sentences(groups: Sequence[Group]) -> list[str]:
  first, *others = groups
  return [why for group in others if (why := apart(first, group))]


def _comparable(groups: Sequence[Group]) -> list[Group]:
  first, *others = groups
  return [first, *(group for group in others if not apart(first, group))]


def _overview(groups: Sequence[Group]) -> Table:
  changed, known = differing(groups), [measures.means(group) for group in groups]
  revisions = [', '.join(dict.fromkeys(run.revision for run in group.runs)) for group in groups]
  if len(set(revisions)) > 1:
    changed = {'git revision': revisions} | changed
  names = list(dict.fromkeys(name for of_group in known for name in of_group))
  heads = columns('run', 'seeds', 'state', *names, *changed, numeric=['seeds', *names])
  rows = []
  for number, (group, values) in enumerate(zip(groups, known, strict=True)):
    states = dict.fromkeys(run.state for run in group.runs)
    rows.append(
      Row([
        group.name,
        str(len(group.runs)),
        ', '.join(states),
        *(values.get(name, '') for name in names),
        *(_short(of_key[number]) for of_key in changed.values()),
      ])
    )  # fmt: skip
  note = 'Mean over seeds and tasks of the own optimizer; accuracy in %.'
  return Table(heads, rows, note)


def _short(value: str) -> str:
  return textwrap.shorten(value, WIDEST, placeholder=' …')


def _differences(groups: Sequence[Group]) -> Table:
  first, *others = _comparable(groups)
  names = ('run', 'measure', 'difference', 'better', 'pairs', 'seeds')
  rows = [
    Row([
      group.name,
      found.measure,
      f'{found.mean:+.3g} [{found.low:+.3g}, {found.high:+.3g}]',
      f'{100 * found.wins:.0f} %',
      str(found.pairs),
      str(found.seeds),
    ])
    for group in others
    for found in measures.differences(first, group)
  ]  # fmt: skip
  return Table(columns(*names, numeric=names[2:], filters=names[:2]), rows, NOTE)


def _verdict(groups: Sequence[Group]) -> str:
  first, *others = _comparable(groups)
  found = [
    (group.name, difference)
    for group in others
    for difference in measures.differences(first, group)
  ]
  if not found:
    return 'No two of these runs can be compared yet.'
  clear = [one for one in found if one[1].low > 0 or one[1].high < 0]
  name, top = max(found, key=lambda one: abs(one[1].mean))
  return (
    f'{len(clear)} of {len(found)} differences to {first.name} have an interval that excludes '
    f'zero; the largest is that of {name} in {top.measure}: '
    f'{top.mean:+.3g} [{top.low:+.3g}, {top.high:+.3g}].'
  )


def _profiles(groups: Sequence[Group]) -> list[Section]:
  same = {group.name: group for group in _comparable(groups) if measures.own(group)}
  if len(same) < 2 or groups[0].runs[0].workdir.is_job:
    return []
  found = measures.together(same)
  try:
    made = profiles.profiles(found)
  except InputError:  # without rivals there is nothing to take the targets from
    return []
  horizons = sorted(found['K'].unique())
  kept = [one for one in made if one.learned]
  cells = profiles.cells(kept, horizons)
  heads = columns(*cells.columns, numeric=cells.columns[1:])
  table = Table(heads, [Row(row) for row in cells.to_numpy().tolist()], profiles.NOTE)
  drawn = profiles.figure({'all tasks': made}, {'all tasks': horizons})
  return section('Over all tasks', Drawings([drawn]), table)


def _curves(groups: Sequence[Group]) -> list[Section]:
  folder = 'train' if groups[0].runs[0].workdir.is_job else 'meta_train'
  logged = {
    group.name: pd.DataFrame(results.read_lines(group.runs[0].workdir / folder / workdir.METRICS))
    for group in groups
  }
  drawn = [
    _curve({name: of_run for name, of_run in logged.items() if key in of_run}, key, label)
    for key, label in CURVES.items()
    if any(key in of_run for of_run in logged.values())
  ]
  caption = 'The first seed of each config.'
  return section('Learning curves', Drawings(drawn, caption)) if drawn else []


def _curve(logged: dict[str, pd.DataFrame], key: str, label: str) -> Figure:
  with style.context():
    figure, (axes,) = style.panels(1)
    lines, ends = style.own_and_others(list(logged), next(iter(logged))), []
    for name, of_run in logged.items():
      curve = pd.to_numeric(of_run.set_index('step')[key], errors='coerce').dropna()
      if curve.empty:
        continue
      axes.plot(curve, label=name, **lines[name])
      ends.append(style.End(curve.index[-1], curve.iloc[-1], name, lines[name]['color']))
    axes.set(xlabel='step', ylabel=label)
    if key.endswith(('loss', 'rate')) and ends and min(end.y for end in ends) > 0:
      style.log_values(axes)
    style.name_ends(axes, ends)
  return figure


def _mixtures(groups: Sequence[Group]) -> list[Section]:
  drawn = [
    Drawings(list(figures.values()), group.name)
    for group in groups
    if (figures := report.traced(group.runs[0].workdir.path))
  ]
  return section('Mixture and step norm by layer', *drawn) if drawn else []


def _plain(table: Table) -> str:
  heads = [column.name for column in table.columns]
  return tables.render(pd.DataFrame([list(row.cells) for row in table.rows], columns=heads))

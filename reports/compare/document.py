"""The page and the text of a comparison."""

import functools
import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from reports import records, report, results, tables, training, workdir
from reports.compare import measures, overall
from reports.compare.runs import Gathered, Group, Run, apart, differing, labels
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

CURVES_NOTE = (
  'Lines: mean over the seeds of a row; bands: from the lowest to the highest seed. Seeds that '
  'have logged fewer steps than others of their row are left out.'
)


def text(found: Gathered) -> str:
  """Tables of the runs, of their differences and of all tasks combined, as plain text."""
  groups = found.groups
  parts = [_plain(_overview(groups))]
  shown, together = _differences(groups), _together(found)
  if shown.rows:
    parts += [_plain(shown), NOTE]
  if together:
    parts += [_plain(together.table), together.table.note]
  return '\n\n'.join([*parts, *_sentences(found)])


def document(found: Gathered) -> Document:
  """The page of a comparison."""
  groups = found.groups
  unfinished = [run.name for group in groups for run in group.runs if run.state != 'ended']
  shown = _differences(groups)
  return Document(
    title='Comparison of runs',
    status=f'Unfinished: {", ".join(unfinished)}.' if unfinished else '',
    question=f'How do {len(groups)} configs differ, and what does it change?',
    verdict=_verdict(groups),
    main=[_overview(groups)],
    sections=[
      *section('Differences', *([shown] if shown.rows else []), *_said(found)),
      *_overall(found),
      *_curves(groups),
      *_mixtures(groups),
    ],
  )


def _said(found: Gathered) -> list[Text]:
  said = _sentences(found)
  return [Text(said)] if said else []


def _sentences(found: Gathered) -> list[str]:
  first, *others = found.groups
  return [*(why for group in others if (why := apart(first, group))), *found.left_out]


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


def _overall(found: Gathered) -> list[Section]:
  known = _together(found)
  if known is None:
    return []
  drawn = Drawings([known.figure()]) if len(known.steps) > 1 else None  # one step makes no profile
  return section(known.title, drawn, known.table)


@functools.lru_cache(maxsize=1)  # the bootstrap takes seconds; the text and the page share it
def _together(found: Gathered) -> overall.Overall | None:
  return overall.of(_comparable(found.groups))


def _curves(groups: Sequence[Group]) -> list[Section]:
  names = labels(groups)
  logged = records.gather({
    names[group.name]: [_logged(run) for run in group.runs] for group in groups
  })  # fmt: skip
  drawn = [
    _curve(logged, list(names.values()), key)
    for key in CURVES
    if logged.loc[logged['measure'] == key, 'value'].notna().any()
  ]
  return section('Learning curves', Drawings(drawn, CURVES_NOTE)) if drawn else []


def _logged(run: Run) -> pd.DataFrame:
  """What a run has logged while training or meta-training."""
  if run.workdir.is_job:
    return run.measured
  rows = results.read_lines(run.workdir / 'meta_train' / workdir.METRICS)
  return records.of_log(rows, optimizer='', hand_designed=False, seed=run.seed)


def _curve(logged: pd.DataFrame, names: Sequence[str], key: str) -> Figure:
  values = logged.loc[logged['measure'] == key, 'value'].dropna()
  positive = bool((values > 0).all()) and key.endswith(('loss', 'rate'))
  return training.curves(names, logged, key, CURVES[key], log=positive)


def _mixtures(groups: Sequence[Group]) -> list[Section]:
  drawn = [
    Drawings(list(figures.values()), f'{group.name}, seed {run.seed}')
    for group in groups
    for run in group.runs[:1]
    if (figures := report.traced(run.workdir.path))
  ]
  return section('Mixture and step norm by layer', *drawn) if drawn else []


def _plain(table: Table) -> str:
  heads = [column.name for column in table.columns]
  return tables.render(pd.DataFrame([list(row.cells) for row in table.rows], columns=heads))

"""Sections that every run's page has: times, config, versions."""

import json
from collections.abc import Mapping
from typing import Any

from reports import workdir
from reports.page import progress
from reports.page.blocks import Code, Row, Section, Table, Text, Values, columns, section
from reports.workdir import Workdir

UNKNOWN = 'not recorded'


def times(run: Workdir) -> list[Section]:
  """The time that each stage has taken."""
  rows = [_time(stage) for stage in progress.stages(run)]
  names = ('stage', 'done', 'of', 'unit', 'seconds', 'per second', 'starts', 'devices')
  numeric = ('done', 'of', 'seconds', 'per second', 'starts')
  note = (
    'Seconds: wall-clock time of the loop with its compiling, summed over starts, without what a '
    'kill lost.'
  )
  return section('Times', Table(columns(*names, numeric=numeric), rows, note))


def _time(stage: progress.Stage) -> Row:
  known = [stage.name, str(stage.done), str(stage.total), f'{stage.unit}s']
  if not stage.times:
    nothing = 'nothing to do' if not stage.total else UNKNOWN
    return Row([*known, nothing, '', '', ''])
  seconds = sum(one['seconds'] for one in stage.times)
  steps = sum(one['stop'] - one['start'] for one in stage.times)
  devices = ', '.join(dict.fromkeys(str(one['devices']) for one in stage.times))
  rate = f'{steps / seconds:.3g}' if seconds else ''
  return Row([*known, f'{seconds:.1f}', rate, str(len(stage.times)), devices])


def config(run: Workdir) -> list[Section]:
  """The difference from the config file's default, and then the whole config."""
  changes = workdir.text(run / workdir.DIFF).rstrip()
  whole = json.dumps(run.config, indent=1)
  return section(
    'Config',
    Text(["What differs from the config file's default (diff.txt):" if changes else UNKNOWN]),
    Code(changes) if changes else None,
    Code(whole, 'the whole config (config.json)'),
  )


def versions(run: Workdir) -> list[Section]:
  """The versions of code, Python and packages at each start."""
  if not (run / workdir.VERSIONS).is_file():
    return section('Versions', Text([UNKNOWN]))
  starts = workdir.read(run / workdir.VERSIONS)
  shown: list[Any] = []
  for number, start in enumerate(starts, start=1):
    if len(starts) > 1:
      shown.append(Text([f'Start {number} of {len(starts)}']))
    shown.append(Values(_version(start)))
  return section('Versions', *shown)


def _version(start: Mapping[str, Any]) -> list[tuple[str, str]]:
  packages = ', '.join(f'{name} {number}' for name, number in start.get('packages', {}).items())
  known = [('git revision', 'git'), ('Python', 'python'), ('platform', 'platform')]
  return [(shown, str(start.get(key, UNKNOWN))) for shown, key in known] + [('packages', packages)]

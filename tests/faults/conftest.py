"""Prints the suite's table: what was done to a run, how often, and what came out."""

import collections

from tests.faults.runs import ROW


def pytest_terminal_summary(terminalreporter):
  counted = collections.defaultdict(collections.Counter)
  for outcome in ('passed', 'failed'):
    for report in terminalreporter.stats.get(outcome, []):
      for row, came_out in (value for name, value in report.user_properties if name == ROW):
        counted[row][came_out if outcome == 'passed' else 'FAILED'] += 1
  if counted:
    terminalreporter.section('faults')
    terminalreporter.write_line('| what is done | times | what came out |\n|---|---|---|')
  for row, outcomes in sorted(counted.items()):
    listed = ', '.join(f'{number} x {outcome}' for outcome, number in sorted(outcomes.items()))
    terminalreporter.write_line(f'| {row} | {outcomes.total()} | {listed} |')

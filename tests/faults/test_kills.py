"""Runs of main.py are signalled at random times: the same command ends as an unbroken run would."""

import re
import signal
import time

import numpy as np
import pytest

from tests.faults.processes import Run
from tests.faults.runs import ROW, left

LONGER = {
  'job': 'tests/faults/longer.py:job',
  'pipeline': 'tests/faults/longer.py',
  'quickstart': 'tests/faults/longer.py:quickstart',
}
TINY = ('job', 'pipeline')
STARTS = 5  # kills of a run, before it is left to end
# (config, processes, which of them are killed) -> runs
CHAINS = {
  ('job', 1, 'all'): 5,
  ('job', 2, 'all'): 2,
  ('job', 2, 'one'): 3,
  ('pipeline', 1, 'all'): 5,
  ('pipeline', 2, 'all'): 2,
  ('pipeline', 2, 'one'): 3,
  ('quickstart', 1, 'all'): 2,
}
CASES = [(*case, number) for case, runs in CHAINS.items() for number in range(runs)]


@pytest.fixture(scope='session')
def unbroken(tmp_path_factory):
  """(config, processes) -> what an unbroken run leaves, and the seconds it takes; run once."""
  made = {}

  def get(kind, count):
    if (kind, count) not in made:
      run = Run(LONGER[kind], tmp_path_factory.mktemp(kind) / 'unbroken', count)
      begun = time.monotonic()
      run.finish()
      made[kind, count] = left(run.workdir), time.monotonic() - begun
    return made[kind, count]

  return get


def moments(number, runs, secs):
  """When to signal each start of a run: over all runs, spread evenly over the time of one."""
  rng = np.random.default_rng(number)
  order = np.random.default_rng(runs).permutation(runs * STARTS).reshape(runs, STARTS)[number]
  return (order + rng.uniform(size=STARTS)) / (runs * STARTS) * secs


@pytest.mark.faults
@pytest.mark.parametrize(('kind', 'count', 'which', 'number'), CASES)
def test_a_killed_run_ends_the_same(
  kind, count, which, number, unbroken, tmp_path, record_property
):
  whole, secs = unbroken(kind, count)
  of = f'{which} of {count} processes' if count > 1 else 'its process'
  times = moments(number, CHAINS[kind, count, which], secs)
  for where in interrupt(Run(LONGER[kind], tmp_path / 'run', count), times, which, whole):
    record_property(ROW, (f'{kind}: SIGKILL to {of}', f'the same numbers, killed in {where}'))


@pytest.mark.slow  # tests/trainers/processes/test_elastic.py has one in every test run
def test_a_killed_job_ends_the_same(unbroken, tmp_path):
  whole, secs = unbroken('job', 1)
  run = Run(LONGER['job'], tmp_path / 'run', 1)
  assert interrupt(run, [0.8 * secs], 'all', whole)


def interrupt(run, times, which, whole):
  """Kills a run at these times, then lets it end; returns the stages in which it was killed."""
  found = []
  for number, moment in enumerate(times):
    some = range(run.count) if which == 'all' else [number % run.count]
    while not (where := killed(run, moment, some)):
      assert left(run.workdir) == whole  # it had less to do than an unbroken run: begin another
      run = Run(run.config, run.workdir.with_name(f'{run.workdir.name}_'), run.count)
      moment *= 0.9
    found.append(where)
  run.finish()
  assert left(run.workdir) == whole
  return found


def killed(run, moment, which):
  """Kills processes of a run; returns the stage that it was in, or None if it had ended."""
  with run.started():
    run.wait(moment)
    where = run.reached()
    run.signal(signal.SIGKILL, which)
    codes = run.ends()
  if any(codes):
    assert 0 not in codes or where == 'the end'
    return where
  return None


RESUMES = 'the same command resumes from'
SIGNALS = {  # -> the code at the end, and what is said
  'SIGTERM': (143, rf'error: (\w+: ended by SIGTERM after .* saved|ended by SIGTERM); {RESUMES}'),
  'SIGINT': (130, f'error: interrupted; {RESUMES} the last checkpoint'),
}
SIGNALLED = 3  # runs of each config
WITH_SIGNALS = [(kind, name, i) for kind in TINY for name in SIGNALS for i in range(SIGNALLED)]


@pytest.mark.faults
@pytest.mark.parametrize(('kind', 'name', 'number'), WITH_SIGNALS)
def test_a_signalled_run_ends_and_resumes(kind, name, number, unbroken, tmp_path, record_property):
  whole, secs = unbroken(kind, 1)
  run = Run(LONGER[kind], tmp_path / 'run', 1)
  with run.started():
    run.wait(secs * (number + 0.5) / SIGNALLED)
    run.signal(getattr(signal, name))
    (code,) = run.ends()
  where = run.reached()
  wanted, said = SIGNALS[name]
  # Python itself takes a second to begin and to end; meanwhile it is any program.
  others = {'building': [-getattr(signal, name)], 'the end': [0, -getattr(signal, name)]}
  assert code in (wanted, *others.get(where, ())), (code, where, run.errors()[-5000:])
  if code == wanted:
    assert re.match(said, run.errors().strip().split('\n')[-1])
    assert 'Traceback' not in run.errors()
  record_property(ROW, (f'{kind}: {name}', f'exit code {code} during {where}'))
  run.finish()
  assert left(run.workdir) == whole


@pytest.mark.faults
@pytest.mark.parametrize('kind', TINY)
def test_two_runs_at_once(kind, unbroken, tmp_path, record_property):
  whole, _ = unbroken(kind, 1)
  runs = [Run(LONGER[kind], tmp_path / 'run', 1, name) for name in ('one', 'other')]
  with runs[0].started(), runs[1].started():
    codes = sorted(code for run in runs for code in run.ends())
  assert codes == [0, 2]
  refused = next(run for run in runs if run.errors())
  assert 'is in use by another run; wait or name another' in refused.errors()
  assert left(runs[0].workdir) == whole
  record_property(ROW, (f'{kind}: started twice at once', 'one ends, the other is refused'))

"""A sweep runs what is not done, once, and survives a row that fails."""

import concurrent.futures
import json
import threading

import numpy as np
import pandas as pd
import pytest

from configs import common, l3rs_ablations
from l2o.errors import InputError, RunError
from reports import records
from tests.tiny_run import tiny_job
from trainers import run
from trainers.harness import workdir
from trainers.harness.folder import RECORDS, Folder
from trainers.harness.signals import TerminatedError
from trainers.jobs import sweep, sweep_plan


def config(**changes):
  c = l3rs_ablations.get_config('smoke')
  c.sweep = [
    common.sweep_row('T', 70.0, {'rule.gammas': (0.0, 0.9, 0.99)}),  # no difference: the base
    common.sweep_row('T', None, {'rule.identity': 'none'}),
    common.sweep_row('T2', None, {'rule.identity': 'none'}),  # the same run in another table
  ]
  c.sweep_seeds = (0, 4)
  c.update(changes)
  return common.freeze(c)


class Runner:
  """Writes what a run would leave that is looked at."""

  def __init__(self, fails=()):
    self.seen, self.fails = [], fails

  def __call__(self, changed, where, default, overrides):
    identity, seed = changed['rule']['identity'], changed['seed']
    self.seen.append((identity, seed))
    assert not changed['sweep']
    if identity in self.fails:
      raise RunError('no finite loss')
    value = {'embedding': 0.8, 'none': 0.5}[identity] + 0.01 * seed
    tables = [
      records.of_tasks(
        {'accuracy': np.full((3, 1), of_one), 'loss': np.ones((3, 1))}, [''],
        experiment=experiment, source='glyphs', optimizer=optimizer, hand_designed=False,
        seed=seed, K=steps,
      )
      for experiment, optimizer, steps, of_one in [
        ('A', 'l3rs', 2, value), ('A', 'l3rs', 1, 0.0), ('A', 'adam', 2, 0.0), ('B', 'l3rs', 2, 0.0)
      ]
    ]  # fmt: skip
    where.write(RECORDS, records.pack(pd.concat(tables)))


def swept(config, folder, runner, build=lambda config, folder: None, only=''):
  sweep.run(config, Folder(folder), runner, build, default=config, overrides={}, only=only)


def results(folder):
  return json.loads((folder / 'results.json').read_text())


def test_each_different_run_is_run_once_for_each_seed(tmp_path):
  runner = Runner()
  swept(config(), tmp_path, runner)
  assert runner.seen == [('embedding', 0), ('embedding', 4), ('none', 0), ('none', 4)]
  base, none, again = results(tmp_path)
  assert base['diff'] == 'base'
  assert base['of_each_seed'] == pytest.approx([0.8, 0.84])
  assert none['difference_mean'] == pytest.approx(-0.3)
  assert again['table'] == 'T2'
  assert again['difference_mean'] == pytest.approx(-0.3)
  assert {'base', 'figures', 'rule.identity=none'} == {
    path.name for path in tmp_path.iterdir() if path.is_dir()
  }


def test_the_time_left_is_told_from_the_second_run_on(tmp_path, capsys, monkeypatch):
  runner = Runner()
  monkeypatch.setattr(sweep.time, 'monotonic', lambda: 10.0 * len(runner.seen))  # 10 s a run
  swept(config(), tmp_path, runner)
  first, *others = [s for s in capsys.readouterr().out.splitlines() if s.startswith('[sweep] run')]
  assert first.startswith('[sweep] run 1/4: base/seed_0')
  assert [line.partition(' left')[0] for line in others] == [
    f'[sweep] run {number}/4, about 0:00:{left}' for number, left in ((2, 30), (3, 20), (4, 10))
  ]


def test_a_row_that_fails_is_reported_and_the_others_are_run(tmp_path):
  swept(config(), tmp_path, Runner(fails=('none',)))
  base, none, _ = results(tmp_path)
  assert base['accuracy_mean'] is not None
  assert none['accuracy_mean'] is None


def test_a_run_without_its_records_is_refused_with_the_remedy(tmp_path):
  def forgets(changed, where, default, overrides):
    where.path.mkdir(parents=True)

  with pytest.raises(InputError, match=r'records\.csv\.gz is missing; delete .*results\.json'):
    swept(config(), tmp_path, forgets)


def test_sigterm_ends_the_sweep_and_not_a_row_alone(tmp_path):
  def terminated(changed, where, default, overrides):
    raise TerminatedError('ended by SIGTERM')

  with pytest.raises(TerminatedError):
    swept(config(), tmp_path, terminated)
  assert not (tmp_path / 'results.json').exists()


def test_a_row_that_cannot_be_built_is_refused_before_any_is_run(tmp_path):
  for diff, says in [
    ({'rule.identities': 'none'}, r'changes rule\.identities'),
    ({'rule.identity': 'nine'}, "no layer identity 'nine'|rule l3rs: identity must be"),
  ]:
    runner = Runner()
    wrong = config(sweep=[*config()['sweep'], common.sweep_row('T', None, diff)])
    with pytest.raises(InputError, match=says):
      swept(wrong, tmp_path, runner, build=run.build)
    assert not runner.seen


def test_a_papers_value_of_the_wrong_kind_is_refused(tmp_path):
  wrong = config(sweep=[common.sweep_row('T', {'accuracy': 0.7}, {})])
  with pytest.raises(InputError, match="paper of the row 'T' must be one accuracy in %, not"):
    swept(wrong, tmp_path, Runner())
  row = common.sweep_row('adam', 70.0, {})
  wrong = common.freeze(common.ConfigDict(tiny_job() | {'sweep': [row]}))
  with pytest.raises(InputError, match="row 'adam' must be a block of measures and values, not 70"):
    swept(wrong, tmp_path, Runner())


def test_the_papers_tables_are_all_there():
  rows = l3rs_ablations.rows()
  assert len(rows) == 12 + 4 + 4
  papers = {(row['table'][:7], row['paper']) for row in rows}
  assert {('Table 2', 56.71), ('Table 3', 66.52), ('Table 4', 66.95)} <= papers


def test_a_row_alone_makes_no_table_and_the_plain_command_completes_it(tmp_path, capsys):
  runner = Runner()
  swept(config(), tmp_path, Finishing(runner), only='3')
  assert runner.seen == [('none', 0)]
  assert not (tmp_path / 'results.json').exists()
  assert (tmp_path / 'config.json').exists()
  swept(config(), tmp_path, Finishing(runner), only='rule.identity=none/seed_4')
  assert runner.seen[1:] == [('none', 4)]
  swept(config(), tmp_path, Finishing(runner))
  assert runner.seen[2:] == [('embedding', 0), ('embedding', 4)]
  assert [row['seeds'] for row in results(tmp_path)] == [2, 2, 2]
  capsys.readouterr()
  swept(config(), tmp_path, never, only='list')
  listed = capsys.readouterr().out.split()
  assert listed == [
    '1', 'done', 'base/seed_0', '2', 'done', 'base/seed_4',
    '3', 'done', 'rule.identity=none/seed_0', '4', 'done', 'rule.identity=none/seed_4',
  ]  # fmt: skip


@pytest.mark.parametrize('only', ['0', '5', '-1', 'x', 'base', 'base/seed_1', '²'])
def test_a_run_that_the_sweep_lacks_is_refused(only, tmp_path):
  with pytest.raises(
    InputError, match=f'must be a number from 1 to 4 or a name, as.* not {only!r}'
  ):
    swept(config(), tmp_path / 'new', never, only=only)
  assert not (tmp_path / 'new').exists()


def test_a_single_row_that_fails_fails_the_command(tmp_path):
  with pytest.raises(RunError, match=r'^no finite loss'):
    swept(config(), tmp_path, Runner(fails=('none',)), only='4')


def test_processes_on_one_sweep_share_its_runs_and_all_see_the_whole(tmp_path, monkeypatch):
  """Threads hold the files' locks apart as processes do."""
  monkeypatch.setattr(sweep, 'POLL_SECS', 0.01)
  both = threading.Barrier(2)  # each is in a run of its own while the other is in one
  seen = Runner()
  runners = [Finishing(seen, both), Finishing(seen, both)]
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for ended in [pool.submit(swept, config(), tmp_path, runner) for runner in runners]:
      ended.result(timeout=60)
  assert sorted(seen.seen) == [('embedding', 0), ('embedding', 4), ('none', 0), ('none', 4)]
  assert [row['seeds'] for row in results(tmp_path)] == [2, 2, 2]


def test_a_run_that_another_process_holds_is_waited_for(tmp_path, monkeypatch):
  monkeypatch.setattr(sweep, 'POLL_SECS', 0.01)
  first = sweep_plan.build(config(), Folder(tmp_path)).runs[0]
  others, seen, waits = Runner(), Runner(), threading.Event()
  monkeypatch.setattr(sweep.time, 'sleep', lambda secs: waits.set())

  def hold(held):
    with workdir.lock(first.folder):
      held.set()
      assert waits.wait(timeout=30)  # all others are done by then
      workdir.describe(first.folder, first.config, first.config, {})
      others(first.config, first.folder, {}, {})
      first.folder.write_json('results.json', [])

  held = threading.Event()
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    ended = pool.submit(hold, held)
    assert held.wait(timeout=30)
    workdir.describe(Folder(tmp_path), config(), config(), {})
    swept(config(), tmp_path, Finishing(seen))
    ended.result(timeout=30)
  assert seen.seen == [('embedding', 4), ('none', 0), ('none', 4)]
  assert [row['seeds'] for row in results(tmp_path)] == [2, 2, 2]


class Finishing:
  """Runs what is not finished under its lock, as `trainers.run.run_one` does."""

  def __init__(self, runner, together=None):
    self.runner, self.together = runner, together

  def __call__(self, changed, where, default, overrides):
    with workdir.lock(where):
      if workdir.is_finished(where, changed):
        return
      if self.together:
        self.together.wait(timeout=30)
      workdir.describe(where, changed, default, overrides)
      self.runner(changed, where, default, overrides)
      where.write_json('results.json', [])


def never(*arguments, **keywords):
  raise AssertionError('nothing is run')

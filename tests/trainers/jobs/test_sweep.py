"""A sweep runs what is not done, once, and survives a row that fails."""

import json

import numpy as np
import pandas as pd
import pytest

from configs import common, l3rs_ablations
from l2o.errors import InputError, RunError
from reports import records
from trainers import run
from trainers.harness.folder import RECORDS, Folder
from trainers.harness.signals import TerminatedError
from trainers.jobs import sweep


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
    where.path.mkdir(parents=True)
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


def swept(config, folder, runner, build=lambda config, folder: None):
  sweep.run(config, Folder(folder), runner, build, default=config, overrides={})


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


def test_the_papers_tables_are_all_there():
  rows = l3rs_ablations.rows()
  assert len(rows) == 12 + 4 + 4
  papers = {(row['table'][:7], row['paper']) for row in rows}
  assert {('Table 2', 56.71), ('Table 3', 66.52), ('Table 4', 66.95)} <= papers

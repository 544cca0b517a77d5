"""Sweeps whose rows, seeds, overrides or folders do not add up are refused before a row is run."""

import json

import pytest

from configs import common, hub_function
from l2o.errors import InputError, RunError
from reports import records
from tests.tiny_run import tiny, tiny_job
from trainers import run
from trainers.harness import workdir
from trainers.harness.folder import RECORDS, Folder
from trainers.jobs import sweep, sweep_plan

SGD = {'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': 0.3}
LOST = SGD | {'learning_rate': 1e30}


def rows(*names, **diff):
  return [common.sweep_row(name, None, {'rule': SGD, **diff}) for name in names]


def swept(rows, seeds=(0,), base=None, **more):
  base = tiny_job() if base is None else base
  return common.freeze(common.ConfigDict(base | {'sweep': rows, 'sweep_seeds': seeds, **more}))


def never(config, folder, **keywords):
  raise AssertionError('a row was run')


def refused(config, folder, says, overrides=None):
  with pytest.raises(InputError, match=says):
    sweep.run(config, Folder(folder), never, run.build, config, overrides or {})
  assert not folder.exists()


@pytest.mark.parametrize(
  ('listed', 'says'),
  [
    (rows('adam') + rows('adam', **{'train.num_steps': 3}), "are called 'adam'"),
    (rows('adam', 'Adam'), "is called 'Adam' and another 'adam'"),
    (rows('/tmp/adam'), "cannot be called '/tmp/adam'"),
    (rows('../adam'), r"cannot be called '\.\./adam'"),
    (rows('a/b'), "cannot be called 'a/b'"),
    (rows('a[1]'), r"cannot be called 'a\[1\]'"),
    (rows(''), "cannot be called ''"),
    (rows('.lock'), r"cannot be called '\.lock'"),
    (rows('figures'), "cannot be called 'figures'"),
    (rows('adam', seed=3), "row 'adam' sets seed; list the seeds in sweep_seeds"),
    (rows('adam', cpu_devices=2), "row 'adam' cannot set cpu_devices"),
    ([{'diff': {}, 'paper': None}], r'sweep\[0\] needs table'),
    ([{'table': 'a', 'diff': 3, 'paper': None}], r'sweep\[0\]\.diff must be a block'),
    (
      [{'table': 'a', 'diff': {}, 'paper': 'x'}],
      r'sweep\[0\]\.paper must be a number or a block of keys or None',
    ),
    (rows('a', rule='adam'), 'config.rule must be a block of keys'),
    (rows('a', **{'train.numsteps': 3}), r'changes train\.numsteps'),
  ],
)
def test_rows_that_cannot_be_told_apart_or_are_none(listed, says, tmp_path):
  refused(swept(listed), tmp_path / 'run', says)


@pytest.mark.parametrize('row', [3, 'adam', ['adam']])
def test_a_row_that_is_no_block_is_refused_at_the_door(row, tmp_path):
  config = tiny_job() | {'sweep': [row]}
  with pytest.raises(InputError, match=r'config\.sweep\[0\] must be a block of keys'):
    run.run(config, tmp_path / 'run', config, {})


@pytest.mark.parametrize(
  ('seeds', 'says'),
  [
    ([0, 0, 0], 'sweep_seeds must be different whole numbers'),
    ([], 'sweep_seeds must be different whole numbers'),
    ([1.5], r'sweep_seeds\[0\] must be a whole number'),
    ([-1], r'sweep_seeds\[0\] must be at least 0'),
    (['a'], r'sweep_seeds\[0\] must be a whole number'),
    ('0', 'sweep_seeds must be a list'),
  ],
)
def test_seeds_that_are_not_different_numbers(seeds, says, tmp_path):
  config = tiny_job() | {'sweep': rows('adam'), 'sweep_seeds': seeds}
  with pytest.raises(InputError, match=says):
    run.run(config, tmp_path / 'run', config, {})
  assert not (tmp_path / 'run').exists()


def test_an_override_that_every_row_replaces_is_refused_by_the_rows(tmp_path):
  config = common.freeze(hub_function.get_config('smoke'))
  says = r'--config\.rule\.learning_rate has no effect: every row .* \(adam, learned, lgl2o, hub\)'
  refused(config, tmp_path / 'run', says, {'rule.learning_rate': 0.5})
  refused(config, tmp_path / 'run', 'set --config.sweep_seeds', {'seed': 3})
  some = swept([common.sweep_row('b', None, {'train.num_steps': 2})])
  ran = []
  sweep.run(
    some,
    Folder(tmp_path / 'b'),
    lambda changed, where, **keywords: ran.append(changed) or _leave(where),
    lambda *arguments: None,
    some,
    {'rule.learning_rate': 0.5},
  )
  assert len(ran) == 1  # the override reaches this row


def _leave(where):
  results = {'final': {'step': 1, 'eval_loss': 1.0}, 'best': None, 'test': None}
  known = {'optimizer': 'adam', 'hand_designed': True, 'seed': 0}
  where.write(RECORDS, records.pack(records.of_job([], results, **known)))


def test_two_learning_rates_of_different_blocks_have_a_folder_each():
  base = tiny()
  folders = set()
  for diff in (
    {'pretrain.rule.learning_rate': 0.1},
    {'meta_train.optimizer.learning_rate': 0.1},
    {'estimator.sigma': 0.1234567},
    {'estimator.sigma': 0.1234568},
  ):
    config = base | {'sweep': [common.sweep_row('T', None, diff)]}
    folders |= {row.name for row in sweep_plan.build(config, workdir.resolve('runs')).rows}
  assert len(folders) == 4


def test_a_folder_with_something_else_is_left_as_it_is(tmp_path):
  config = swept(rows('adam'))
  (tmp_path / 'thesis.tex').write_text('x')
  with pytest.raises(InputError, match='holds files that are not a run'):
    run.run(config, tmp_path, config, {})
  single = tmp_path / 'single'
  run.run(tiny_job(), single, tiny_job(), {})
  before = (single / 'results.json').read_text()
  with pytest.raises(InputError, match='holds a single run'):
    run.run(config, single, config, {})
  assert (single / 'results.json').read_text() == before


def test_a_sweep_may_grow_but_its_base_may_not_change(tmp_path):
  run.run(swept(rows('a')), tmp_path / 'run', {}, {})
  first = (tmp_path / 'run' / 'a' / 'seed_0' / 'versions.json').read_text()
  run.run(swept(rows('a', 'b'), seeds=(0, 1)), tmp_path / 'run', {}, {})
  assert (tmp_path / 'run' / 'a' / 'seed_0' / 'versions.json').read_text() == first
  assert (tmp_path / 'run' / 'b' / 'seed_1' / 'results.json').exists()
  base = tiny_job(**{'train.num_steps': 4})
  with pytest.raises(InputError, match=r'train\.num_steps: 6 there, 4 now'):
    run.run(swept(rows('a'), base=base), tmp_path / 'run', {}, {})
  with pytest.raises(InputError, match='holds a run with another config'):
    run.run(tiny_job(), tmp_path / 'run', {}, {})


def test_a_row_with_damaged_results_is_finished_again(tmp_path):
  run.run(swept(rows('a')), tmp_path / 'run', {}, {})
  whole = (tmp_path / 'run' / 'results.json').read_text()
  for text in ('', '{"fin'):
    (tmp_path / 'run' / 'a' / 'seed_0' / 'results.json').write_text(text)
    run.run(swept(rows('a')), tmp_path / 'run', {}, {})
    assert (tmp_path / 'run' / 'results.json').read_text() == whole


def test_a_bad_second_row_is_found_before_the_first_is_run(tmp_path):
  listed = [*rows('a'), *rows('b', **{'train.mesh': {'data': 99}})]
  refused(swept(listed), tmp_path / 'run', 'needs 99 devices')


def test_a_sweep_that_failed_throughout_is_an_error_with_its_table(tmp_path):
  config = swept([common.sweep_row('lost', None, {'rule': LOST})])
  with pytest.raises(RunError, match='every run of the sweep failed'):
    run.run(config, tmp_path / 'run', {}, {})
  assert 'is not finite' in (tmp_path / 'run' / 'table.txt').read_text()


@pytest.mark.slow
def test_a_row_of_a_learned_optimizer_from_a_file_is_tabled(tmp_path):
  """It goes by the file's name in the records."""
  layers = {'model.features': (8, 8)}  # those of the file
  base = tiny(**{'meta_train.num_generations': 0}, **layers)
  artifact = {'name': 'artifact', 'path': 'l3rs-quickstart'}
  listed = [common.sweep_row('T', None, {'rule': artifact})]
  run.run(swept(listed, base=base), tmp_path / 'run', {}, {})
  [row] = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert row['accuracy_mean'] > 0

import json
import pathlib

import numpy as np
import pandas as pd
import pytest

from configs import quickstart
from l2o.errors import InputError
from reports import compare, records, results
from reports.compare import __main__ as command
from reports.compare import measures
from reports.page.render import render
from tests.reports import made_run

FIRST, SECOND = np.array([0.5, 0.7, 0.9]), np.array([0.4, 0.9, 0.9])


def pipeline(folder, accuracy, seed=0, ended=True, **changes):
  """A run of the quickstart whose L3RS has these accuracies, beside one hand-designed family."""
  c = quickstart.get_config('smoke')
  c.seed = seed
  for key, value in changes.items():
    c[key].update(value)
  made_run.begun(folder, c)
  made_run.log(folder / 'meta_train', made_run.generations(3))
  if not ended:
    return folder
  known = {'experiment': 'A', 'source': 'glyphs', 'seed': seed}
  parts = []
  for K, drop in ((10, 0.2), (40, 0.0)):
    for name, by_hand, values in (('l3rs', False, accuracy), ('sgd', True, FIRST / 2)):
      measured = {'accuracy': (values - drop)[:, np.newaxis], 'loss': np.ones((3, 1))}
      rule = {'optimizer': name, 'hand_designed': by_hand}
      parts.append(records.of_tasks(measured, [''], K=K, **rule, **known))
  found = pd.concat(parts)
  (folder / records.FILE).write_bytes(records.pack(found))
  rows = results.summarize(found, 100, seed)
  (folder / 'results.json').write_text(json.dumps(rows))
  return folder


@pytest.fixture
def runs(tmp_path):
  first = pipeline(tmp_path / 'a', FIRST)
  return [first, pipeline(tmp_path / 'b', SECOND, estimator={'sigma': 0.5})]


def columns(table):
  return [column.name for column in table.columns]


def test_runs_that_differ_only_in_seed_are_one_row(runs, tmp_path):
  other = pipeline(tmp_path / 'a1', FIRST + 0.1, seed=1)
  found = compare.gather([*runs, other])
  assert [len(group.runs) for group in found.groups] == [2, 1]
  overview, *_ = compare.document(found).main
  assert overview.rows[0].cells[columns(overview).index('A, K = 40')] == '75'  # of 70 and 80


def test_the_overview_has_the_keys_that_differ_and_no_others(runs):
  overview, *_ = compare.document(compare.gather(runs)).main
  assert columns(overview)[-1] == 'estimator.sigma'
  assert columns(overview)[:3] == ['run', 'seeds', 'state']
  default = quickstart.get_config('smoke').estimator.sigma
  assert [row.cells[-1] for row in overview.rows] == [f'{default}', '0.5']


def test_a_block_that_one_run_lacks_is_one_key(runs, tmp_path):
  source = json.loads((runs[0] / 'config.json').read_text())
  del source['meta_evaluate']['baselines']['sgd_constant']
  (runs[0] / 'config.json').write_text(json.dumps(source))
  overview, *_ = compare.document(compare.gather(runs)).main
  assert 'meta_evaluate.baselines.sgd_constant' in columns(overview)


def test_a_run_that_was_repeated_is_compared_by_its_revision(runs, tmp_path):
  again = pipeline(tmp_path / 'again', FIRST + 0.1)
  (again / 'versions.json').write_text(json.dumps([{'git': 'f' * 40}]))
  document = compare.document(compare.gather([runs[0], again]))
  overview, *_ = document.main
  assert columns(overview)[-1] == 'git revision'
  assert [row.cells[-1] for row in overview.rows] == ['abc123', 'f' * 9]
  assert document.verdict.endswith('+10 [+10, +10].')


def test_differences_are_paired_by_task():
  groups = [{0: FIRST, 1: FIRST}, {1: SECOND}]
  found = measures.difference('A, K = 40', groups[0], groups[1], is_job=False)
  np.testing.assert_allclose(found.mean, 100 * (-0.1 + 0.2 + 0) / 3)
  np.testing.assert_allclose(found.wins, (0 + 1 + 0.5) / 3)
  assert (found.pairs, found.seeds) == (3, 1)
  assert found.low < found.mean < found.high


def test_of_losses_less_is_better():
  found = measures.difference('lowest loss', {0: FIRST}, {0: FIRST - 0.25}, is_job=True)
  assert found.wins == 1
  np.testing.assert_allclose(found.mean, -0.25)


def test_a_loss_that_is_not_finite_has_no_difference():
  assert measures.difference('x', {0: FIRST}, {0: np.array([np.nan, 1, 1])}, is_job=True) is None


def test_other_tasks_are_said_to_be_so(runs, tmp_path):
  other = pipeline(tmp_path / 'c', SECOND, episodes={'num_ways': 3})
  said = compare.text(compare.gather([*runs, other]))
  assert f'{other} cannot be compared with {runs[0]}: they differ in episodes.num_ways' in said
  assert f'{runs[1]} cannot' not in said


def test_tasks_are_others_if_their_batches_are_drawn_for_another_number_of_steps(runs, tmp_path):
  longest = {'num_steps': (2, 9)}
  other = pipeline(tmp_path / 'c', SECOND, meta_evaluate=longest)
  said = compare.text(compare.gather([*runs, other]))
  assert (
    f'{other} cannot be compared with {runs[0]}: they differ in meta_evaluate.draw_steps' in said
  )
  same = pipeline(tmp_path / 'd', SECOND, meta_evaluate=longest | {'num_steps': (9,)})
  assert 'cannot be compared' not in compare.text(compare.gather([other, same]))
  drawn = {'num_steps': (2,), 'draw_steps': 9}
  same = pipeline(tmp_path / 'e', SECOND, meta_evaluate=drawn)
  assert 'cannot be compared' not in compare.text(compare.gather([other, same]))


def test_without_a_common_seed_nothing_is_compared(runs, tmp_path):
  other = pipeline(tmp_path / 'c', SECOND, seed=3, estimator={'sigma': 0.25})
  said = compare.text(compare.gather([runs[0], other]))
  assert 'they have no seed in common' in said
  assert 'Difference:' not in said


def test_the_page_has_profiles_curves_and_differences(runs):
  document = compare.document(compare.gather(runs))
  titles = [section.title for section in document.sections]
  assert titles == ['Differences', 'Over all tasks', 'Learning curves']
  assert document.verdict.startswith('0 of 2 differences to')
  page = render(document)
  assert page == render(compare.document(compare.gather(runs)))
  assert '+3.33 [' in page


def test_an_unfinished_run_stands_beside_the_others(runs, tmp_path):
  begun = pipeline(tmp_path / 'c', FIRST, ended=False, estimator={'sigma': 0.25})
  document = compare.document(compare.gather([*runs, begun]))
  assert document.status == f'Unfinished: {begun}.'
  assert document.main[0].rows[2].cells[2].startswith('pretrain, step 0 of ')


def test_jobs_of_a_sweep_are_compared_by_their_lowest_loss(tmp_path):
  root = tmp_path / 'sweep'
  made_run.begun(root, made_run.hub_function.get_config('smoke'))
  rule = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 0.5}
  made_run.job(root / 'first' / 'seed_0', losses=(4.0, 1.5, 2.5))
  made_run.job(root / 'second' / 'seed_0', rule=rule, losses=(4.0, 1.25, 2.5))
  said = compare.text(compare.gather([root]))
  assert '-0.25 [-0.25, -0.25]' in said
  assert '100 %' in said
  titles = [section.title for section in compare.document(compare.gather([root])).sections]
  assert titles == ['Differences', 'Over all seeds', 'Learning curves']


def test_runs_of_the_other_kind_and_empty_sweeps_are_left_out_in_a_sentence(runs, tmp_path):
  job = made_run.job(tmp_path / 'job')
  sweep = made_run.begun(tmp_path / 'sweep', made_run.hub_function.get_config('smoke'))
  found = compare.gather([sweep, *runs, job])
  assert [group.name for group in found.groups] == [str(run) for run in runs]
  said = [
    f'{sweep} is left out: it is a sweep in which no run has begun.',
    f'{job} is left out: {runs[0]} is a pipeline, and a training job cannot be compared with it.',
  ]
  assert compare.text(found).endswith('\n\n'.join(said))
  differences, *_ = compare.document(found).sections
  assert differences.blocks[-1].paragraphs == said
  found = compare.gather([job, runs[0]])
  assert [group.name for group in found.groups] == [str(job)]
  assert found.left_out == [
    f'{runs[0]} is left out: {job} is a training job, and a pipeline cannot be compared with it.'
  ]


@pytest.mark.parametrize(
  ('name', 'said'),
  [('none', 'holds no run'), ('sweep', 'no run has begun in .*sweep; give them later')],
)
def test_without_any_run_it_is_refused_with_a_sentence(name, said, tmp_path):
  made_run.begun(tmp_path / 'sweep', made_run.hub_function.get_config('smoke'))
  with pytest.raises(InputError, match=said):
    compare.gather([tmp_path / name])


def test_groups_of_seeds_in_one_folder_have_different_names(runs, tmp_path):
  more = [
    pipeline(tmp_path / 'a1', FIRST, seed=1),
    pipeline(tmp_path / 'b1', SECOND, seed=1, estimator={'sigma': 0.5}),
  ]
  names = [group.name for group in compare.gather([*runs, *more]).groups]
  assert names == [f'{runs[0]} …', f'{runs[1]} …']


def test_the_command_writes_a_page_and_prints_the_table(runs, tmp_path, capsys, monkeypatch):
  page = tmp_path / 'page.html'
  monkeypatch.setattr('sys.argv', ['compare', *map(str, runs), f'--out={page}'])
  command.main()
  printed = capsys.readouterr().out
  assert 'estimator.sigma' in printed
  assert printed.endswith(f'{page}\n')
  assert pathlib.Path(page).read_text().startswith('<!doctype html>')

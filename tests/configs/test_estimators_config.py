"""The comparison of estimators: all rows have the same inner steps and times of evaluation."""

import pytest

from configs import common, estimators
from l2o.errors import InputError
from l2o.estimators import ESTIMATORS, ONLINE
from trainers.jobs import pipeline
from trainers.stages import estimation


def load(arg):
  return common.freeze(estimators.get_config(arg))


def rows(config):
  """Label -> a row's config."""
  alone = {'sweep': [], 'sweep_seeds': [0]}
  return {row['table']: common.with_diff(config, alone | row['diff']) for row in config['sweep']}


@pytest.fixture(scope='module')
def stage():
  """A meta-training stage, for its task, rule and mesh; built with few images."""
  return pipeline.build(load('smoke')).meta_train


@pytest.mark.parametrize('problem', ['quickstart', 'long', 'smoke'])
@pytest.mark.parametrize('rule', ['l3rs', 'mlp_lopt'])
def test_inner_steps_are_equal_as_the_stage_counts_them(problem, rule, stage):
  arg = problem if problem == 'smoke' else f'problem={problem}'
  seen = set()
  for config in rows(load(f'{arg},rule={rule}')).values():
    spec = config['meta_train']
    horizons = stage.spec.__class__(**{**vars(stage.spec), **spec})
    each = estimation.inner_steps(config['estimator'], horizons, stage.task, stage.rule, stage.mesh)
    seen.add((each * spec['num_generations'], each * spec['eval_every'], spec['max_steps']))
    assert spec['min_steps'] == spec['max_steps']
    assert spec['objective'] == 'mean'
  ((total, between, _),) = seen
  assert total == estimators.EVALUATIONS * between


def test_every_estimator_has_a_row_and_reverse_mode_two():
  found = [config['estimator'] for config in rows(load('')).values()]
  assert {block['name'] for block in found} == {*ESTIMATORS, *ONLINE}
  windows = [block.get('window') for block in found if block['name'] == 'reverse_mode']
  assert windows == [10, None]


def test_arguments_choose_the_rule_and_the_inner_problem():
  quick, long = load(''), load('problem=long,rule=mlp_lopt')
  assert (quick['rule']['name'], quick['meta_train']['max_steps']) == ('l3rs', 50)
  assert (long['rule']['name'], long['meta_train']['max_steps']) == ('mlp_lopt', 2_000)
  assert quick['model'] == {'name': 'mlp', 'features': [64, 64]}
  assert quick['sweep_seeds'] == [0, 1, 2, 3, 4]
  with pytest.raises(InputError, match='no problem'):
    load('problem=short')
  with pytest.raises(InputError, match='no rule of the comparison'):
    load('rule=velo')

"""Arguments, comparison and freezing of configs."""

import pytest
from ml_collections import ConfigDict

from configs import common
from l2o.errors import InputError


def test_arguments_keep_the_type_of_their_default():
  args = common.parse('rate=1e-2,smoke,name=x', smoke=False, rate=0.1, name='', width=3)
  assert args.to_dict() == {'smoke': True, 'rate': 0.01, 'name': 'x', 'width': 3}
  assert common.parse('', smoke=False).to_dict() == {'smoke': False}
  assert common.parse('smoke=false', smoke=True).smoke is False


@pytest.mark.parametrize(
  ('arg', 'says'),
  [
    ('smok', "no config argument 'smok'.*did you mean 'smoke'.*choose from smoke, width"),
    ('width=wide', "'width=wide' needs a value like width=3"),
    ('width', "'width' needs a value"),
    ('smoke=maybe', "'smoke=maybe' needs a value"),
  ],
)
def test_a_wrong_argument_is_refused(arg, says):
  with pytest.raises(InputError, match=says):
    common.parse(arg, smoke=False, width=3)


def test_diff_names_what_changed_appeared_and_went():
  old = {'a': {'b': 1, 'c': 2}, 'd': [1, 2]}
  new = {'a': {'b': 1, 'e': 3}, 'd': [1]}
  assert common.diff(old, new) == {'a.c': (2, None), 'a.e': (None, 3), 'd': ([1, 2], [1])}
  assert common.diff(old, old) == {}


def test_freezing_gives_plain_data():
  config = ConfigDict({'a': {'t': (1, (2.5, 'x'))}, 'b': None})
  assert common.freeze(config) == {'a': {'t': [1, [2.5, 'x']]}, 'b': None}


def test_a_number_that_is_not_finite_is_refused_by_its_key():
  for bad in (float('nan'), float('inf')):
    with pytest.raises(InputError, match=r'estimator\.sigma must be a finite number'):
      common.freeze(ConfigDict({'estimator': {'sigma': bad}}))


def test_a_list_of_names_that_became_one_name_is_refused():
  config = ConfigDict({'rule': {'directions': ('sgd', 'adam')}})
  config.update_from_flattened_dict({'rule.directions': ('sgd,adam',)})
  with pytest.raises(InputError, match=r"--config.rule.directions=\"\('sgd', 'adam'\)\""):
    common.freeze(config)


def test_a_config_file_that_is_not_there_is_named(tmp_path):
  with pytest.raises(InputError, match='no config file'):
    common.load_default(str(tmp_path / 'none.py'))


def test_the_default_is_the_file_without_its_argument():
  assert common.load_default('configs/quickstart.py:smoke').estimator.population == 32

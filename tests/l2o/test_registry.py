"""Names and arguments of a config become objects, or one sentence."""

import pytest

from l2o.errors import InputError
from l2o.registry import build, call, choose, resolve

TABLE = {'fraction': 'fractions:Fraction', 'broken': 'no_such_module:thing'}


def test_a_factory_is_imported_only_when_it_is_built():
  assert resolve(TABLE, 'fraction')(3).numerator == 3
  with pytest.raises(ModuleNotFoundError):
    resolve(TABLE, 'broken')


@pytest.mark.parametrize(
  ('spec', 'says'),
  [
    ({'name': 'fractoin'}, r"no rule 'fractoin' \(did you mean 'fraction'\?\).*broken, fraction"),
    ({'name': 'fraction', 'bottom': 2}, "rule fraction has no 'bottom'; it takes numerator"),
    ({'numerator': 2}, 'the rule needs a name; choose from broken, fraction'),
  ],
)
def test_a_wrong_block_is_refused_with_the_choices(spec, says):
  with pytest.raises(InputError, match=says):
    build(TABLE, spec, 'rule')


def test_a_missing_argument_is_named():
  with pytest.raises(InputError, match='model needs width'):
    call(lambda width, depth=2: width, {'depth': 3}, 'model')


def test_the_block_wins_over_what_the_caller_offers_and_unknown_offers_are_left_out():
  assert call(lambda a, b: (a, b), {'a': 1}, 'thing', a=2, b=3, c=4) == (1, 3)


def test_choose_names_what_is_chosen():
  with pytest.raises(InputError, match='there is no split 7; choose from train'):
    choose(7, ['train'], 'split')

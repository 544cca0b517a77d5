"""Whether a folder may be used, and what is written into it."""

import json

import pytest

from configs import common
from l2o.errors import InputError
from trainers.harness import workdir
from trainers.harness.folder import RESULTS, Folder

CONFIG = {'seed': 0, 'estimator': {'population': 32}}


def test_a_new_folder_and_an_unfinished_run_may_be_used_a_finished_one_is_known(tmp_path):
  folder = tmp_path / 'run'
  assert not workdir.is_finished(Folder(folder), CONFIG)
  assert not folder.exists()
  workdir.describe(Folder(folder), CONFIG, CONFIG, {})
  assert not workdir.is_finished(Folder(folder), CONFIG)
  Folder(folder).write_json(RESULTS, [])
  assert workdir.is_finished(Folder(folder), CONFIG)


def test_a_run_with_another_config_is_refused_by_the_keys_that_differ(tmp_path):
  workdir.describe(Folder(tmp_path), CONFIG, CONFIG, {})
  other = {'seed': 1, 'estimator': {'population': 16}}
  with pytest.raises(InputError, match=r'seed: 0 there, 1 now; estimator.population: 32 there, 16'):
    workdir.is_finished(Folder(tmp_path), other)
  much = {'seed': 0, 'estimator': {'population': 32}, **{f'k{i}': i for i in range(5)}}
  with pytest.raises(InputError, match=r'k2: None there, 2 now; 2 more\); use another --workdir'):
    workdir.is_finished(Folder(tmp_path), much)


@pytest.mark.parametrize(
  ('key', 'value'),
  [('cpu_devices', 4), ('meta_train.mesh.population', 1), ('train.placement', [['w', ['model']]])],
)
def test_a_run_may_be_resumed_on_other_devices(tmp_path, key, value):
  folder = Folder(tmp_path)
  config = {'seed': 0, 'cpu_devices': 2, 'meta_train': {'mesh': {'population': -1}}}
  config['train'] = {'placement': []}
  workdir.describe(folder, config, config, {})
  moved = common.with_diff(config, {key: value})
  assert not workdir.is_finished(folder, moved)
  with pytest.raises(InputError, match='seed: 0 there, 1 now'):
    workdir.is_finished(folder, {**moved, 'seed': 1})


def test_a_folder_of_something_else_is_refused(tmp_path):
  (tmp_path / 'thesis.tex').write_text('')
  with pytest.raises(InputError, match='holds files that are not a run'):
    workdir.is_finished(Folder(tmp_path), CONFIG)
  with pytest.raises(InputError, match='is a file'):
    workdir.is_finished(Folder(tmp_path / 'thesis.tex'), CONFIG)
  with pytest.raises(InputError, match=r'thesis\.tex is a file'):
    workdir.is_finished(Folder(tmp_path / 'thesis.tex' / 'run'), CONFIG)


def test_an_unreadable_config_is_refused(tmp_path):
  for broken, says in (('{', 'is damaged'), ('[]', 'is not a config')):
    (tmp_path / 'config.json').write_text(broken)
    with pytest.raises(InputError, match=says):
      workdir.is_finished(Folder(tmp_path), CONFIG)


def test_a_folder_in_use_is_refused_and_free_when_its_run_has_ended(tmp_path):
  lock = workdir.lock
  used = pytest.raises(InputError, match='in use by another run')
  with lock(Folder(tmp_path / 'run')), used, lock(Folder(tmp_path / 'run')):
    pass
  with workdir.lock(Folder(tmp_path / 'run')):
    assert not workdir.is_finished(Folder(tmp_path / 'run'), CONFIG)


def test_a_run_says_what_it_is(tmp_path):
  changed = CONFIG | {'seed': 3}
  workdir.describe(Folder(tmp_path), changed, CONFIG, {'seed': 3})
  assert json.loads((tmp_path / 'config.json').read_text()) == changed
  assert json.loads((tmp_path / 'overrides.json').read_text()) == {'seed': 3}
  assert (tmp_path / 'diff.txt').read_text() == 'seed: 0 -> 3\n'
  versions = json.loads((tmp_path / 'versions.json').read_text())
  assert versions[0]['packages']['jax']
  assert versions[0]['git']
  workdir.describe(Folder(tmp_path), changed, CONFIG, {'seed': 3})
  assert len(json.loads((tmp_path / 'versions.json').read_text())) == 2

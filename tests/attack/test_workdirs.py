"""What the file system can do to a run's folder ends in a sentence, and loses nothing."""

import json
import os
import pathlib
import shutil

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from checkpoints import Checkpoints
from l2o import atomic
from l2o.errors import InputError, RunError
from tests.faults.runs import left
from tests.tiny_run import tiny_job
from trainers import run
from trainers.harness import workdir
from trainers.harness.folder import Folder

CONFIG = {'seed': 0, 'estimator': {'population': 32}}
DEEP = b'[' * 100_000
DAMAGES = {
  'empty': b'',
  'truncated': b'{"step": 3, "lo',
  'not UTF-8': b'\xff\xfe{}',
  'nested': DEEP,
  'a folder': None,
}


def damage(path, how):
  path.unlink(missing_ok=True)
  if DAMAGES[how] is None:
    path.mkdir()
  else:
    path.write_bytes(DAMAGES[how])


@pytest.mark.parametrize(
  ('name', 'says'),
  [
    ('', 'must name a folder'),
    ('gs://bucket/run', 'is a URL; name a local folder'),
    ('~nobody_of_this_name/run', 'home directory'),
    ('runs/a[1]', r"has '\[' in its path"),
    ('runs/{a}', r"has '\{' in its path"),
    ('runs/a*', r"has '\*' in its path"),
    ('runs/a\\b', 'in its path'),
    ('runs/a\nb', 'in its path'),
  ],
)
def test_a_name_that_is_no_folder_is_refused_and_makes_none(name, says, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError, match=says):
    run.run(tiny_job(), name, {}, {})
  assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert workdir.resolve('~/runs/a') == Folder(tmp_path / 'runs' / 'a')


def test_links_to_nothing_overlong_names_and_kernel_folders_are_refused(tmp_path):
  (tmp_path / 'dangling').symlink_to(tmp_path / 'nothing')
  (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
  for where, says in [
    (tmp_path / 'dangling', 'is a symbolic link to nothing'),
    (tmp_path / 'dangling' / 'run', 'is a symbolic link to nothing'),
    (tmp_path / 'loop' / 'run', 'symbolic link'),
    (tmp_path / ('x' * 300), 'shorten it|too long'),
    (pathlib.Path('/proc/l2o'), 'cannot be'),
  ]:
    with pytest.raises(InputError, match=says), workdir.lock(_free(Folder(where))):
      pass


def _free(where):
  assert workdir.held_config(where) is None
  return where


@pytest.mark.parametrize('how', DAMAGES)
def test_a_damaged_config_or_log_of_starts_is_a_sentence(how, tmp_path):
  workdir.describe(Folder(tmp_path), CONFIG, CONFIG, {})
  damage(tmp_path / 'versions.json', how)
  says = 'cannot be read' if how == 'a folder' else 'is damaged'
  with pytest.raises(InputError, match=rf'versions\.json {says} .*; delete it'):
    workdir.describe(Folder(tmp_path), CONFIG, CONFIG, {})
  damage(tmp_path / 'config.json', how)
  with pytest.raises(InputError, match=rf'config\.json {says} .*; name another workdir'):
    workdir.is_finished(Folder(tmp_path), CONFIG)


def test_a_config_nested_deeper_than_python_recurses_is_a_sentence(tmp_path):
  deep = '{"a":' * 900 + '1' + '}' * 900
  (tmp_path / 'config.json').write_text(deep)
  with pytest.raises(
    InputError, match=r'holds a run with another config|is not a config|is damaged'
  ):
    workdir.is_finished(Folder(tmp_path), CONFIG)


@pytest.fixture(scope='module')
def ended(tmp_path_factory):
  folder = tmp_path_factory.mktemp('runs') / 'ended'
  run.run(tiny_job(), folder, {}, {})
  return folder


@pytest.fixture
def copy(ended, tmp_path):
  """The ended job as it was before it wrote its results."""
  shutil.copytree(ended, tmp_path / 'run')
  (tmp_path / 'run' / 'results.json').unlink()
  return tmp_path / 'run'


def results(folder):
  return json.loads((folder / 'results.json').read_text())


@pytest.mark.parametrize('how', ['empty', 'truncated', 'not UTF-8', 'nested'])
def test_damaged_results_are_written_again(how, ended, copy, caplog):
  damage(copy / 'results.json', how)
  run.run(tiny_job(), copy, {}, {})
  assert 'is damaged and is written again' in caplog.text
  assert results(copy) == results(ended)


@pytest.mark.parametrize('how', DAMAGES)
def test_a_damaged_record_of_the_best_model_is_a_sentence(how, copy):
  damage(copy / 'train' / 'best.json', how)
  with pytest.raises(InputError, match=r'best\.json .*; delete it, and the model in best'):
    run.run(tiny_job(), copy, {}, {})


def test_a_deleted_record_of_the_best_model_is_measured_again(ended, copy):
  (copy / 'train' / 'best.json').unlink()
  run.run(tiny_job(), copy, {}, {})
  assert results(copy) == results(ended)
  assert results(copy)['best']['step'] == 3


def test_a_record_of_the_best_model_that_is_wrong_is_measured_again(copy):
  path = copy / 'train' / 'best.json'
  right = path.read_text()
  path.write_text(json.dumps(json.loads(right) | {'loss': -1.0}))
  run.run(tiny_job(), copy, {}, {})
  assert path.read_text() == right


@pytest.mark.parametrize('name', ['results.json', 'records.csv.gz', 'model.safetensors'])
def test_what_changed_since_a_run_finished_is_written_again(name, ended, tmp_path, caplog):
  folder = shutil.copytree(ended, tmp_path / 'run')
  content = (folder / name).read_bytes()
  (folder / name).write_bytes(content.replace(content[-9:-8], b'7'))
  assert (folder / name).read_bytes() != content
  run.run(tiny_job(), folder, {}, {})
  assert f'{name} is damaged and is written again' in caplog.text
  assert left(folder) == left(ended)


def test_a_deleted_best_model_is_not_replaced_by_another(copy):
  shutil.rmtree(copy / 'train' / 'best')
  with pytest.raises(RunError, match='is damaged, so the best model cannot be restored'):
    run.run(tiny_job(), copy, {}, {})


@pytest.mark.parametrize(
  'log',
  [None, b'', b'\xff\xfe\n{"step": 1}\n', b'{"loss": 1.0}\n[]\n3\n{"step": "x"}\n', DEEP],
  ids=['deleted', 'empty', 'not UTF-8', 'no step', 'nested'],
)
def test_results_do_not_depend_on_the_log(log, ended, copy):
  path = copy / 'train' / 'metrics.jsonl'
  path.unlink()
  if log is not None:
    path.write_bytes(log)
  run.run(tiny_job(), copy, {}, {})
  assert results(copy) == results(ended)


def saved(folder):
  manager = Checkpoints(folder)
  for step in (1, 2):
    manager.save(step, {'w': jnp.full(3, float(step))})
  manager.close()
  return folder


def restored(folder):
  state, step = Checkpoints(folder).restore_or({'w': jnp.zeros(3)})
  return float(state['w'][0]), step


def test_a_checkpoint_without_its_metadata_gives_way_to_the_one_before(tmp_path):
  folder = saved(tmp_path / 'checkpoints')
  (folder / '2' / 'state' / '_METADATA').unlink()
  assert restored(folder) == (1.0, 1)
  assert (tmp_path / 'checkpoints_unreadable' / '2').is_dir()


def test_a_checkpoint_under_another_number_is_not_used(tmp_path, caplog):
  folder = saved(tmp_path / 'checkpoints')
  (folder / '2').rename(folder / '7')
  assert restored(folder) == (1.0, 1)
  assert 'it was saved as checkpoint 2' in caplog.text


def test_no_checkpoint_is_deleted_because_it_cannot_be_read(tmp_path):
  folder = saved(tmp_path / 'checkpoints')
  for number in ('1', '2'):
    shutil.rmtree(folder / number / 'manifest')
  assert restored(folder) == (0.0, 0)
  aside = tmp_path / 'checkpoints_unreadable'
  assert sorted(path.name for path in aside.iterdir()) == ['1', '2']
  saved(folder)
  shutil.rmtree(folder / '2' / 'manifest')
  assert restored(folder) == (1.0, 1)
  assert (aside / '2-1').is_dir()


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
  def full(*arguments, **keywords):
    raise OSError(28, os.strerror(28), 'results.json')

  monkeypatch.setattr(atomic, 'replace', full)
  with pytest.raises(RunError, match='No space left on device'):
    run.run(tiny_job(), tmp_path / 'run', {}, {})


def test_a_checkpoint_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
  def full(*arguments, **keywords):
    raise ValueError('RESOURCE_EXHAUSTED: Error writing local file\n<full traceback>')

  monkeypatch.setattr(ocp.CheckpointManager, 'save', full)
  with pytest.raises(RunError, match=r'a checkpoint cannot be written \(No space left'):
    run.run(tiny_job(), tmp_path / 'run', {}, {})


def test_arrays_survive_in_checkpoints_in_a_folder_with_spaces_and_dots(tmp_path):
  folder = saved(tmp_path / 'learned, a=1 (b).x')
  np.testing.assert_equal(restored(folder), (2.0, 2))

"""A run's page and what TensorBoard shows of it; neither can cost a run its results."""

import json
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reports.page import make
from tests.tiny_run import execute, tiny, tiny_job
from trainers.harness.folder import PAGE, TIMES, Folder
from trainers.jobs import shown


@pytest.fixture(scope='module')
def pipeline(tmp_path_factory, tensorboard):
  return execute(tiny(), tmp_path_factory.mktemp('shown') / 'pipeline')


@pytest.fixture(scope='module')
def job(tmp_path_factory):
  return execute(tiny_job(), tmp_path_factory.mktemp('shown') / 'job')


@pytest.mark.parametrize('kind', ['pipeline', 'job'])
def test_the_page_of_a_run_is_that_of_its_workdir(kind, request):
  folder = request.getfixturevalue(kind)
  assert (folder / PAGE).read_text() == make(folder)


def test_times_of_all_stages_are_on_the_page(pipeline):
  page = (pipeline / PAGE).read_text()
  for stage, steps in (('pretrain', 6), ('meta_train', 3)):
    (time,) = json.loads((pipeline / stage / TIMES).read_text())
    assert (time['start'], time['stop']) == (0, steps)
    assert time['seconds'] > 0
    assert f'<td>{stage}<td>{steps}<td>{steps}' in page
    assert f'<td>{time["seconds"]:.1f}' in page


def test_tensorboard_has_the_config_and_the_figures(pipeline):
  assert list((pipeline / 'meta_train').glob('events.out.tfevents.*'))
  events = EventAccumulator(str(pipeline))
  events.Reload()
  (config,) = events.Tensors('config.json')
  text = config.tensor_proto.string_val[0].decode()
  assert text == '    ' + (pipeline / 'config.json').read_text().replace('\n', '\n    ')
  tags = set(events.Tags()['tensors'])
  assert {'accuracy', 'speedup', 'meta_training', 'mixture', 'diff.txt'} <= tags


def test_a_page_that_cannot_be_made_does_not_fail_its_run(tmp_path, monkeypatch, capsys):
  def fails(folder, results):
    raise ZeroDivisionError('no\nway')

  monkeypatch.setattr('reports.page.make', fails)
  execute(tiny_job(), tmp_path)
  assert (tmp_path / 'results.json').is_file()
  said = f'[run] there is no {PAGE}, which `python -m reports.page {tmp_path}` makes: '
  assert f'{said}ZeroDivisionError: no\n' in capsys.readouterr().out


def test_a_run_without_jinja2_has_its_results(tmp_path, monkeypatch, capsys):
  for name in [name for name in sys.modules if name.startswith(('jinja2', 'reports.page'))]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.setitem(sys.modules, 'jinja2', None)
  execute(tiny_job(), tmp_path)
  assert (tmp_path / 'results.json').is_file()
  assert not (tmp_path / PAGE).exists()
  assert 'jinja2' in capsys.readouterr().out


def test_the_page_is_there_before_the_results(tmp_path, monkeypatch):
  found = []
  finish = Folder.finish
  monkeypatch.setattr(
    Folder,
    'finish',
    lambda self, results: (found.append((self / PAGE).exists()), finish(self, results)),
  )
  execute(tiny_job(), tmp_path)
  assert found == [True]


def test_a_process_that_does_not_write_shows_nothing(tmp_path):
  (tmp_path / 'config.json').write_text('{}')
  folder = Folder(tmp_path, writes=False)
  shown.config(folder)
  shown.ended(folder, {})
  assert [path.name for path in tmp_path.iterdir()] == ['config.json']

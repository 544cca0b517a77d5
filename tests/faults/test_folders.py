"""A folder where a file should be, and a file where a folder should be."""

import shutil

import pytest

from tests.faults.processes import Run
from tests.faults.runs import ROW, left, refusal
from tests.faults.test_damage import CONFIGS, WELL, copied, runs  # noqa: F401

FILES = (
  '.lock', 'config.json', 'config.json.partial', 'diff.txt', 'digests.json', 'overrides.json',
  'versions.json', 'results.json', 'records.csv.gz', 'model.safetensors', 'train/metrics.jsonl',
  'train/parameters.txt', 'train/best.json', 'train/times.json', 'report.html',
)  # fmt: skip
FOLDERS = ('train', 'train/checkpoints', 'train/best', 'train/checkpoints_unreadable')


def swapped(path):
  """Puts a folder in the place of a file, and the reverse."""
  if path.is_dir():
    shutil.rmtree(path)
    path.touch()
  else:
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize('state', ['half', 'finished'])
@pytest.mark.parametrize('name', [*FILES, *FOLDERS])
def test_a_folder_for_a_file(name, state, runs, copied, record_property):  # noqa: F811
  folder = copied('job', state)
  if name == 'train/checkpoints_unreadable':
    (folder / name).mkdir()
    newest = max((folder / 'train/checkpoints').iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(newest / 'manifest')
  swapped(folder / name)
  said = refusal(CONFIGS['job'], folder)
  if not said:
    logs = name not in ('train', 'train/metrics.jsonl')
    assert left(folder, logs) == left(runs('job', 'finished'), logs)
  record_property(ROW, (f'job, {state}: folder and file swapped', WELL[0 if said else 1]))


def test_the_command_refuses_in_one_sentence(tmp_path):
  (tmp_path / 'run' / 'config.json').mkdir(parents=True)
  run = Run('tests/faults/longer.py:job', tmp_path / 'run', 1)
  with run.started():
    assert run.ends() == [2]
  assert run.errors().startswith('error: ')
  assert run.errors().count('\n') == 1

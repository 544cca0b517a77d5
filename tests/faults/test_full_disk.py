"""A full disk ends a run in one sentence; with more room, it ends as an unbroken run."""

import errno
import os
import shutil
import subprocess

import pytest

from l2o import atomic
from tests.faults.runs import ROW, left, refusal
from tests.faults.test_damage import CONFIGS, WELL, runs  # noqa: F401

SIZES = {'job': 20, 'pipeline': 10}
STAGES = ('train', 'meta_evaluate', 'meta_train', 'pretrain')  # the last first
ENOUGH = 64 * 2**20
QUICK = [('job', 3), ('job', 12)]
WRITTEN = (
  'config.json', 'versions.json', 'parameters.txt', 'metrics.jsonl', 'times.json', 'best.json',
  'model.safetensors', 'records.csv.gz', 'digests.json', 'results.json',
)  # fmt: skip
CASES = [(kind, number) for kind, count in SIZES.items() for number in range(count)]
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')


def marked(cases):
  return [pytest.param(*case, marks=() if case in QUICK else pytest.mark.faults) for case in cases]


@pytest.fixture
def disk(tmp_path):
  """A disk of its own; call it with the bytes that it has room for."""
  mounted = []

  def resize(size, access='rw'):
    options = f'size={size},{access}' + (',remount' if mounted else '')
    command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(tmp_path / 'disk')]
    try:
      subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
      pytest.skip('no disk can be mounted here')
    mounted.append(size)

  (tmp_path / 'disk').mkdir()
  resize.path = tmp_path / 'disk'
  yield resize
  if mounted:
    subprocess.run(['umount', '-l', str(tmp_path / 'disk')], check=True)


def used(folder):
  """The bytes of memory that a folder takes, in pages."""
  return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob('*'))


@pytest.mark.parametrize(('kind', 'number'), marked(CASES))
def test_a_full_disk(kind, number, runs, disk, record_property):  # noqa: F811
  whole = runs(kind, 'finished')
  disk(int(used(whole) * (number + 0.5) / SIZES[kind]))
  folder = disk.path / 'run'
  said = refusal(CONFIGS[kind], folder)
  stages = [path.name for path in sorted(folder.glob('*/')) if path.is_dir()]
  disk(ENOUGH)
  assert refusal(CONFIGS[kind], folder) is None
  assert left(folder) == left(whole)
  where = next((stage for stage in STAGES if stage in stages), 'building')
  record_property(ROW, (f'{kind}: disk full', f'refused in {where}' if said else 'there was room'))


@pytest.mark.parametrize('name', WRITTEN)
def test_no_room_for_a_file(name, runs, tmp_path, monkeypatch, record_property):  # noqa: F811
  replace, config, folder = atomic.replace, CONFIGS['job'], tmp_path / 'run'

  def full(path, content):
    if path.name == name:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    replace(path, content)

  monkeypatch.setattr(atomic, 'replace', full)
  assert f'No space left on device ({tmp_path}' in refusal(config, folder, drawn=False)
  monkeypatch.undo()
  assert refusal(config, folder, drawn=False) is None
  assert left(folder) == left(runs('job', 'finished'))
  record_property(ROW, ('job: no room for a file of a run', 'refused in one sentence'))


@pytest.mark.parametrize('state', ['new', 'half', 'finished'])
def test_a_disk_that_cannot_be_written(state, runs, disk, record_property):  # noqa: F811
  disk(ENOUGH)
  folder = disk.path / 'run'
  if state != 'new':
    shutil.copytree(runs('job', state), folder)
  disk(ENOUGH, 'ro')
  said = refusal(CONFIGS['job'], folder)
  disk(ENOUGH, 'rw')
  if state == 'finished':
    assert said is None
  else:
    assert f'workdir {folder}' in said
    assert refusal(CONFIGS['job'], folder) is None
  assert left(folder) == left(runs('job', 'finished'))
  record_property(ROW, (f'job, {state}: a disk that cannot be written', WELL[0 if said else 1]))

"""A disk that is full at some point of a run: one sentence, and with more room the run goes on."""

import subprocess

import pytest

from tests.faults.runs import ROW, left, refusal
from tests.faults.test_damage import CONFIGS, runs  # noqa: F401

SIZES = {'job': 20, 'pipeline': 10}
CASES = [(kind, number) for kind, count in SIZES.items() for number in range(count)]
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')


@pytest.fixture
def disk(tmp_path):
  """A disk of its own; call it with the bytes that it has room for."""
  mounted = []

  def resize(size):
    options = f'size={size},remount' if mounted else f'size={size}'
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


def fill(kind, number, runs, disk, record_property):  # noqa: F811
  whole = runs(kind, 'finished')
  size = int(used(whole) * (number + 0.5) / SIZES[kind])
  disk(max(size, 4096))
  folder = disk.path / 'run'
  said = refusal(CONFIGS[kind], folder)
  there = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.exists() else []
  disk(64 * 2**20)
  assert refusal(CONFIGS[kind], folder) is None
  assert left(folder) == left(whole)
  where = there[-1] if there else 'the start'
  record_property(ROW, (f'{kind}: the disk is full', f'refused in {where}' if said else 'fits'))
  return said


@pytest.mark.faults
@pytest.mark.parametrize(('kind', 'number'), CASES)
def test_a_full_disk(kind, number, runs, disk, record_property):  # noqa: F811
  fill(kind, number, runs, disk, record_property)

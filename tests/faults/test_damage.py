"""Files of a run's folder damaged: each is noticed, or changes nothing that the run ends with."""

import json
import shutil

import numpy as np
import pytest

from tests.faults.runs import ROW, interrupted, left, refusal
from tests.tiny_run import execute, tiny, tiny_job

# What Orbax leaves behind when it cannot read an array.
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')

SAVING = {'checkpoint_every_secs': 0.0}
CONFIGS = {'job': tiny_job(**SAVING), 'pipeline': tiny(**SAVING)}
HALVES = {'job': ('train', 5), 'pipeline': ('meta_train', 2)}
FLIPS = {'job': 120, 'pipeline': 80}
HOWS = ('truncated', 'zeroed', 'deleted', 'a folder')
CASES = [(kind, state) for kind in CONFIGS for state in ('half', 'finished')]


@pytest.fixture(scope='session')
def runs(tmp_path_factory):
  """(kind, state) -> the folder of an unbroken run, or of one that SIGTERM has ended; made once."""
  made = {}

  def get(kind, state):
    if (kind, state) not in made:
      folder = tmp_path_factory.mktemp('runs') / kind
      if state == 'half':
        interrupted(CONFIGS[kind], folder, *HALVES[kind])
      else:
        execute(CONFIGS[kind], folder)
      made[kind, state] = folder
    return made[kind, state]

  return get


@pytest.fixture
def copied(runs, tmp_path):
  """Copies a run's folder."""

  def copy(kind, state):
    return shutil.copytree(runs(kind, state), tmp_path / 'run')

  return copy


def files(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def damage(path, how):
  content = path.read_bytes()
  path.unlink()
  if how == 'a folder':
    path.mkdir()
  elif how != 'deleted':
    path.write_bytes(content[: len(content) // 2] if how == 'truncated' else bytes(len(content)))


def flip(folder, number):
  """Turns over one bit of one file; returns the file's name."""
  rng = np.random.default_rng(number)
  name = rng.choice([name for name in files(folder) if (folder / name).stat().st_size])
  content = bytearray((folder / name).read_bytes())
  place = rng.integers(len(content) * 8)
  content[place // 8] ^= 1 << place % 8
  (folder / name).write_bytes(content)
  return name


def outcome(runs, folder, kind, damaged):
  """What the same command makes of a damaged folder; fails if it ends with other numbers."""
  said = refusal(CONFIGS[kind], folder)
  if said:
    return 'refused in one sentence'
  is_log = damaged.endswith('metrics.jsonl')
  ended, whole = left(folder, not is_log), left(runs(kind, 'finished'), not is_log)
  assert ended == whole, [key for key in whole if ended.get(key) != whole[key]]
  return 'the same numbers'


@pytest.mark.faults
@pytest.mark.parametrize('how', HOWS)
@pytest.mark.parametrize(('kind', 'state'), CASES)
def test_every_file_damaged(kind, state, how, runs, tmp_path, record_property):
  wrong = {}
  for name in files(runs(kind, state)):
    folder = shutil.copytree(runs(kind, state), tmp_path / 'run')
    damage(folder / name, how)
    try:
      came_out = outcome(runs, folder, kind, name)
    except Exception as error:
      wrong[name] = came_out = f'{type(error).__name__}: {str(error)[:300]}'
    record_property(ROW, (f'{kind}, {state}: a file {how}', came_out))
    shutil.rmtree(folder)
  assert not wrong, json.dumps(wrong, indent=1)


@pytest.mark.faults
@pytest.mark.parametrize(('kind', 'state'), CASES)
def test_single_bits(kind, state, runs, tmp_path, record_property):
  wrong = {}
  for number in range(FLIPS[kind] // 2):
    folder = shutil.copytree(runs(kind, state), tmp_path / 'run')
    name = flip(folder, number)
    try:
      came_out = outcome(runs, folder, kind, name)
    except Exception as error:
      wrong[f'{number} {name}'] = came_out = f'{type(error).__name__}: {str(error)[:300]}'
    record_property(ROW, (f'{kind}, {state}: a bit flipped', came_out))
    shutil.rmtree(folder)
  assert not wrong, json.dumps(wrong, indent=1)

"""Files of a run's folder damaged: each is noticed, or changes nothing that the run ends with."""

import json
import shutil
from functools import partial

import numpy as np
import pytest

from tests.faults.runs import ROW, interrupted, left, refusal
from tests.tiny_run import execute, tiny, tiny_job

# What Orbax leaves behind when it cannot read an array.
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')

SAVING = {'checkpoint_every_secs': 0.0}
CONFIGS = {'job': tiny_job(**SAVING), 'pipeline': tiny(**SAVING)}
HALVES = {'job': ('train', 5), 'pipeline': ('meta_train', 2)}
FLIPS = {'job': 160, 'pipeline': 40}
HOWS = ('truncated', 'zeroed', 'deleted')
WELL = ('refused in one sentence', 'the same numbers', 'the same numbers, another log')
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
  if how != 'deleted':
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
    return WELL[0]
  ended, whole = left(folder), left(runs(kind, 'finished'))
  if ended == whole:
    return WELL[1]
  assert damaged.endswith('metrics.jsonl')
  assert left(folder, logs=False) == left(runs(kind, 'finished'), logs=False)
  return WELL[2]


def damaged(kind, state, change, runs, tmp_path):
  """What the same command makes of a copy of a folder with a change, and the name of the file."""
  folder = shutil.copytree(runs(kind, state), tmp_path / 'run')
  name = change(folder)
  try:
    return name, outcome(runs, folder, kind, name)
  except Exception as error:
    return name, f'{type(error).__name__}: {str(error)[:300]}'
  finally:
    shutil.rmtree(folder)


def all_well(found):
  wrong = {name: came_out for name, came_out in found if came_out not in WELL}
  assert not wrong, json.dumps(wrong, indent=1)


@pytest.mark.faults
@pytest.mark.parametrize('how', HOWS)
@pytest.mark.parametrize(('kind', 'state'), CASES)
def test_every_file_damaged(kind, state, how, runs, tmp_path, record_property):
  def change(name, folder):
    damage(folder / name, how)
    return name

  found = [
    damaged(kind, state, partial(change, name), runs, tmp_path) for name in files(runs(kind, state))
  ]
  for _, came_out in found:
    record_property(ROW, (f'{kind}, {state}: a file {how}', came_out))
  all_well(found)


@pytest.mark.faults
@pytest.mark.parametrize('number', range(4))
@pytest.mark.parametrize(('kind', 'state'), CASES)
def test_single_bits(kind, state, number, runs, tmp_path, record_property):
  per_test = FLIPS[kind] // 8
  numbers = range(number * per_test, (number + 1) * per_test)
  change = [partial(flip, number=number) for number in numbers]
  found = [damaged(kind, state, one, runs, tmp_path) for one in change]
  for _, came_out in found:
    record_property(ROW, (f'{kind}, {state}: a bit flipped', came_out))
  all_well(found)


@pytest.mark.parametrize('state', ['half', 'finished'])
def test_a_few_bits(state, runs, tmp_path):
  change = [partial(flip, number=1000 + number) for number in range(6)]
  all_well([damaged('job', state, one, runs, tmp_path) for one in change])

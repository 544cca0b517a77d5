"""The command line: what a user can mend ends in one sentence before anything is written."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from configs import common, quickstart
from trainers.harness.folder import RESULTS, Folder


def main(*arguments):
  """Runs main.py in a process of its own; returns its code, output and errors."""
  done = subprocess.run(
    [sys.executable, 'main.py', *arguments],
    capture_output=True,
    text=True,
    timeout=600,
    env={k: v for k, v in os.environ.items() if k != 'L2O_IDX_DIR'},
  )
  return done.returncode, done.stdout, done.stderr


CONFIG = '--config=configs/quickstart.py'
CONFIGS = sorted(
  set(pathlib.Path('configs').glob('[a-z]*.py')) - {pathlib.Path('configs/common.py')}
)


@pytest.mark.parametrize(
  ('arguments', 'says'),
  [
    ([CONFIG, '--config.sed=1'], 'Did you mean "seed"'),
    ([CONFIG, '--config.estimator.popluation=8'], 'Did you mean "population"'),
    ([f'{CONFIG}:smok'], "no config argument 'smok' (did you mean 'smoke'?)"),
    (['--config=configs/quick.py'], 'configs/quick.py'),
    ([CONFIG, 'smoke'], "'smoke' is not a flag"),
    ([CONFIG, '--config.estimator.population=31'], 'population must be even'),
    (['--config=README.md'], 'README.md is not a Python file'),
    ([CONFIG, '--plan=v5e:3x5x7'], '--plan=v5e:3x5x7 '),
  ],
)
def test_bad_input_ends_in_one_sentence_and_a_code(arguments, says, tmp_path):
  workdir = tmp_path / 'run'
  code, _, errors = main(*arguments, f'--workdir={workdir}')
  assert code == 2
  lines = [line for line in errors.splitlines() if line]
  assert lines[-1].startswith('error: ')
  assert says in lines[-1]
  assert 'Traceback' not in errors
  assert not workdir.exists()


@pytest.mark.parametrize(
  ('body', 'says'),
  [
    ("return {'seed': 0}", 'must return a ConfigDict'),
    ('return None', 'must have a value other than None'),
    ("return ConfigDict({'seed': 0})", 'config needs cpu_devices'),
  ],
)
def test_a_config_file_that_returns_something_else(body, says, tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text(f'from ml_collections import ConfigDict\n\n\ndef get_config():\n  {body}\n')
  code, _, errors = main(f'--config={path}', f'--workdir={tmp_path / "run"}')
  assert code == 2
  assert says in errors.splitlines()[-1]
  assert 'Traceback' not in errors


def test_flags_that_absl_refuses_end_without_a_trace(tmp_path):
  code, _, errors = main(CONFIG, '--config.seed=1e3', f'--workdir={tmp_path / "run"}')
  assert code == 2
  assert 'invalid literal' in errors
  assert 'Traceback' not in errors
  code, _, errors = main(CONFIG)
  assert code == 2
  assert '--workdir' in errors
  assert 'Traceback' not in errors


def test_help_says_what_the_flags_are():
  _, output, _ = main('--help')
  assert 'configs/quickstart.py:smoke' in output
  assert '--workdir' in output
  assert '--[no]plan' in output


@pytest.mark.slow
def test_the_smoke_run_ends_in_results_and_again_at_once(tmp_path):
  workdir = tmp_path / 'run'
  changes = '--config.seed=1', '--config.sources.digits={"name": "digits"}'
  code, output, errors = main(f'{CONFIG}:smoke', *changes, f'--workdir={workdir}')
  assert code == 0, errors
  assert 'Speed-up, experiment A' in output
  rows = json.loads((workdir / 'results.json').read_text())
  assert rows[0]['experiment'] == 'A'
  overrides = json.loads((workdir / 'overrides.json').read_text())
  assert overrides == {'seed': 1, 'sources.digits': {'name': 'digits'}}
  assert 'seed: 0 -> 1' in (workdir / 'diff.txt').read_text()
  code, output, _ = main(f'{CONFIG}:smoke', *changes, f'--workdir={workdir}')
  assert code == 0
  assert 'finished' in output
  code, _, errors = main(f'{CONFIG}:smoke', f'--workdir={workdir}')
  assert code == 2
  assert 'seed: 1 there, 0 now' in errors


HEAVY = {
  'clu', 'flax', 'grain', 'jax', 'jaxlib', 'matplotlib', 'optax', 'orbax', 'pandas', 'PIL',
  'sklearn',
  'tensorboard', 'tensorflow', 'tensorflow_datasets',
}  # fmt: skip


def imported_by_main(*arguments):
  """Runs main.py; returns its code, output and the packages it imported."""
  done = subprocess.run(
    [sys.executable, '-X', 'importtime', 'main.py', *arguments],
    capture_output=True, text=True, timeout=600,
  )  # fmt: skip
  timed = [line for line in done.stderr.splitlines() if line.startswith('import time:')]
  modules = {line.rpartition('|')[2].strip() for line in timed}
  assert 'absl.app' in modules
  return done.returncode, done.stdout, {name.partition('.')[0] for name in modules}


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_refused_key_takes_no_heavy_import(path, tmp_path):
  workdir = f'--workdir={tmp_path / "run"}'
  code, _, packages = imported_by_main(f'--config={path}', '--config.no_such_key=1', workdir)
  assert code == 2
  assert not packages & HEAVY


@pytest.mark.parametrize(
  ('arguments', 'code'),
  [
    (['--help'], 1),  # absl's own code
    ([CONFIG, '--config.seed=1e3'], 2),
    ([CONFIG, '--config.seed=-1'], 2),
    (['--config=README.md'], 2),
  ],
)
def test_help_and_a_refused_config_take_no_heavy_import(arguments, code, tmp_path):
  found, _, packages = imported_by_main(*arguments, f'--workdir={tmp_path / "run"}')
  assert found == code
  assert not packages & HEAVY


def test_a_finished_run_takes_no_heavy_import(tmp_path):
  Folder(tmp_path).write_json('config.json', common.freeze(quickstart.get_config()))
  Folder(tmp_path).write_json(RESULTS, [])
  code, output, packages = imported_by_main(CONFIG, f'--workdir={tmp_path}')
  assert code == 0
  assert 'finished' in output
  assert not packages & HEAVY

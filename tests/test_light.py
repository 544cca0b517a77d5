"""The library needs little, and a run needs no TensorFlow."""

import importlib.metadata
import os
import pathlib
import subprocess
import sys
import time
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.without import run_without

HOUSE = {'benchmarks', 'checkpoints', 'configs', 'datasets', 'reports', 'tests', 'trainers'}
# flax installs orbax for what l2o does not use.
UNUSED = {'etils', 'orbax', 'tensorstore'}
TENSORFLOW = {'tensorboard', 'tensorflow'}

TAKE_THREE_STEPS = """
import importlib, pkgutil
import jax, jax.numpy as jnp, optax
import l2o

params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
tx = l2o.load('l3rs-quickstart', params, num_steps=3, on_mismatch='mean_embedding')
loss_of = lambda p: jnp.sum((p['kernel'] - 0.5) ** 2) + jnp.sum((p['bias'] - 0.1) ** 2)

@jax.jit
def step(params, state):
  loss, grads = jax.value_and_grad(loss_of)(params)
  updates, state = tx.update(grads, state, params, value=loss)
  return optax.apply_updates(params, updates), state, loss

state, losses = tx.init(params), []
for _ in range(3):
  params, state, loss = step(params, state)
  losses.append(float(loss))
assert losses[-1] < losses[0], losses
for module in pkgutil.walk_packages(l2o.__path__, 'l2o.'):
  importlib.import_module(module.name)
"""

# A name after `import l2o` alone imports what `import` of it does.
IMPORT_EACH_FIRST = """
import functools, importlib, pkgutil
import l2o

for name in [module.name for module in pkgutil.walk_packages(l2o.__path__, 'l2o.')]:
  for loaded in [key for key in sys.modules if key.partition('.')[0] == 'l2o']:
    del sys.modules[loaded]
  l2o = importlib.import_module('l2o')
  assert functools.reduce(getattr, name.split('.')[1:], l2o).__name__ == name
"""

RUN_A_JOB_TWICE = """
import importlib, pathlib, pkgutil
from tests.tiny_run import execute, tiny_job

folder = execute(tiny_job(), pathlib.Path(sys.argv[1]))
first = (folder / 'results.json').read_bytes()
(folder / 'results.json').unlink()
execute(tiny_job(), folder)
assert (folder / 'results.json').read_bytes() == first
for package in ('checkpoints', 'datasets', 'reports', 'trainers'):
  for module in pkgutil.walk_packages([package], f'{package}.'):
    importlib.import_module(module.name)
assert not {'tensorflow', 'tensorboard'} & set(sys.modules)
"""


def installed_with(requirements):
  """The distributions that these requirements bring, by their canonical names."""
  found, open_ones = set(), [Requirement(text) for text in requirements]
  while open_ones:
    wanted = open_ones.pop()
    name = canonicalize_name(wanted.name)
    if name in found or (wanted.marker and not wanted.marker.evaluate({'extra': ''})):
      continue
    found.add(name)
    open_ones += map(Requirement, importlib.metadata.requires(name) or ())
  return found


def test_the_library_needs_what_it_declares_and_no_more():
  light = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']['dependencies']
  kept = installed_with(light)
  packages = importlib.metadata.packages_distributions()
  others = {
    package
    for package, owners in packages.items()
    if package != 'l2o' and not kept & set(map(canonicalize_name, owners))
  }
  assert {'clu', 'grain', 'matplotlib', 'ml_collections', 'sklearn', 'PIL', 'filelock'} <= others
  run_without(others | UNUSED | HOUSE, TAKE_THREE_STEPS)


def test_the_public_names_are_all_there():
  import l2o

  for name in l2o.__all__:
    assert getattr(l2o, name).__module__.startswith('l2o.'), name
  assert set(l2o.__all__) <= set(dir(l2o))
  assert l2o.rules.velo.load_theta.__name__ == 'load_theta'  # modules too, without their import
  with pytest.raises(AttributeError, match="'l2o' has no attribute 'lode'"):
    _ = l2o.lode


def test_any_module_may_be_imported_first():
  run_without({'none'}, IMPORT_EACH_FIRST)


def test_a_job_runs_resumes_and_reports_without_tensorflow(tmp_path):
  output = run_without(TENSORFLOW, RUN_A_JOB_TWICE, tmp_path / 'run')
  assert output.count("pip install 'l2o[tensorflow]'") == 1
  written = [path.name for path in tmp_path.rglob('*') if path.is_file()]
  assert 'metrics.jsonl' in written
  assert not any('tfevents' in name for name in written)


@pytest.mark.slow
def test_a_fresh_environment_with_the_library_alone(tmp_path):
  """Installs from the package index; prints what it takes."""
  begun = time.monotonic()
  subprocess.run([sys.executable, '-m', 'venv', tmp_path / 'venv'], check=True)
  python = tmp_path / 'venv' / 'bin' / 'python'
  install = [python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check']
  here = pathlib.Path.cwd()
  subprocess.run([*install, here, '-c', here / 'constraints.txt'], check=True)
  seconds = time.monotonic() - begun
  done = subprocess.run(
    [python, '-c', TAKE_THREE_STEPS],
    cwd=tmp_path, capture_output=True, text=True, timeout=600,
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  size = sum(path.lstat().st_size for path in (tmp_path / 'venv').rglob('*'))
  print(f'installed in {seconds:.0f} s: {size / 1e6:.0f} MB')

"""Every benchmark takes a round, on something small, and prints its table."""

import pathlib
import subprocess
import sys

import pytest

THIN = 'lambda *a, **k: ResNet(10, features=(2,), blocks=1, stem_stride=2)'
# name -> (what is made smaller, flags, lines that are printed)
ROUNDS = {
  'conv': (
    f'from l2o.models.resnet import ResNet; b.REPEATS = 1; b.ResNet = {THIN}',
    ['--steps=1'],
    ['flax         outside', 'l2o          in a loop'],
  ),
  'estimators': (
    "b.PROBLEMS = {'quadratic': b.quadratic}; "
    "few = b.estimators; b.estimators = lambda p: {'pes': few(p)['pes']}",
    ['--samples=20'],
    ['| quadratic | pes | 2 | 4 | '],
  ),
  'input': (
    "b.BATCH = 2; b.WAYS = {'pipeline, 1 worker': b.WAYS['pipeline, 1 worker']}",
    ['--rounds=1', '--images=4'],
    ['| plain loop | ', '| pipeline, 1 worker | '],
  ),
  'meta_throughput': (
    'b.POPULATION = b.TASKS = b.BATCH = 2; b.K = b.REPEATS = 1; b.EXAMPLES = 20; '
    "b.WAYS['mlp'] = b.WAYS['mlp'][-1:]; "
    "b.NETWORKS['mlp'] = lambda: b.classification(b.MLP(5, features=(2,)), (28, 28, 1))",
    [],
    ['mlp: raw adam', 'mlp: 2 devices, vectorized, vectorized'],
  ),
  'plan_memory': (
    "from tests.tiny_run import SGD, tiny; b.PROGRAMS = {'small': lambda: tiny(rule=SGD)}",
    ['--name=small'],
    ['"announced": '],
  ),
  'processes': (
    'b.K = b.GENERATIONS = 1; b.LAYOUTS = [b.Layout(2, 1)]; '
    "full = b.quickstart.get_config; b.quickstart.get_config = lambda: full('smoke')",
    ['--rounds=1'],
    ['| 2 | 1 | 1 | '],
  ),
  'sweep_step': (
    'pass',
    ['--config=configs/hub_function.py:smoke', '--rounds=1'],
    ['| adam ', '| hub '],
  ),
  'train_step': (
    f'from l2o.models.resnet import ResNet; b.ResNet = {THIN}',
    ['--rounds=1', '--learned=l3rs-quickstart'],
    ['lgl2o ', 'lgl2o adds'],
  ),
  'update_cost': (
    "import jax.numpy as jnp; b.resnet_34 = lambda: {'w': jnp.ones((3, 2)), 'b': jnp.ones(2)}",
    ['--rounds=1', '--only=l3rs,mlp_lopt'],  # of all, which are made before one is chosen
    ['adam ', 'l3rs ', 'mlp_lopt '],
  ),
}


def test_all_of_them_are_here():
  there = {path.stem for path in pathlib.Path('benchmarks').glob('*.py')}
  assert there - {'__init__'} == ROUNDS.keys()


@pytest.mark.parametrize(
  'name',
  [  # tests/pod starts two processes of main.py in every test run
    pytest.param(name, marks=[pytest.mark.slow] if name == 'processes' else []) for name in ROUNDS
  ],
)
def test_it_takes_a_round(name):
  smaller, flags, printed = ROUNDS[name]
  code = f'from absl import app; import benchmarks.{name} as b; {smaller}; app.run(b.main)'
  done = subprocess.run(
    [sys.executable, '-c', code, *flags], capture_output=True, text=True, timeout=600
  )
  assert done.returncode == 0, done.stderr
  for line in printed:
    assert line in done.stdout

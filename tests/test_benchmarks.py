"""Every benchmark takes a round, on something small, and prints its table."""

import importlib
import pathlib
import subprocess
import sys

import jax
import pytest
from absl import flags

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


@pytest.fixture
def benchmark(name):
  """The module, whose flags and constants are its own: another's flags may have the same names."""
  sys.modules.pop(f'benchmarks.{name}', None)
  module = importlib.import_module(f'benchmarks.{name}')
  yield module
  for flag in flags.FLAGS.get_flags_for_module(module.__name__):
    delattr(flags.FLAGS, flag.name)
  flags.FLAGS.unparse_flags()
  flags.FLAGS.mark_as_parsed()


@pytest.mark.filterwarnings('default', 'ignore:the load_module')  # as in a process of its own
@pytest.mark.parametrize('name', [name for name in ROUNDS if name != 'processes'])
def test_it_takes_a_round(name, benchmark, capsys):
  smaller, arguments, printed = ROUNDS[name]
  exec(smaller, {'b': benchmark})
  flags.FLAGS([name, *arguments])
  with jax.numpy_rank_promotion('allow'):
    benchmark.main([name])
  said = capsys.readouterr().out
  for line in printed:
    assert line in said


@pytest.mark.slow  # tests/pod starts two processes of main.py in every test run
def test_several_processes_take_a_round():
  smaller, arguments, printed = ROUNDS['processes']
  code = f'from absl import app; import benchmarks.processes as b; {smaller}; app.run(b.main)'
  command = [sys.executable, '-c', code, *arguments]
  done = subprocess.run(command, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr
  for line in printed:
    assert line in done.stdout

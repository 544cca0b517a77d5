"""Every config file loads, builds abstractly, and its smoke variant runs."""

import json
import pathlib

import jax
import pytest

import datasets
from configs import common
from l2o.errors import InputError
from trainers import pipeline, run

FILES = sorted(
  p for p in pathlib.Path('configs').glob('*.py') if p.stem not in ('__init__', 'common')
)


def load(path, arg=''):
  import importlib

  return common.freeze(importlib.import_module(f'configs.{path.stem}').get_config(arg))


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_it_says_how_to_run_it(path):
  text = path.read_text()
  assert f'python main.py --config=configs/{path.name} --workdir=' in text
  assert f'python main.py --config=configs/{path.name}:smoke --workdir=' in text


def with_data(path, arg=''):
  """The config, or a skip if this machine does not have its data."""
  config = load(path, arg)
  for spec in config['sources'].values():
    try:
      if spec['name'] == 'tfds':
        datasets.load(spec, 'validation')
    except InputError as error:
      pytest.skip(str(error))
  return config


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_it_builds_and_its_states_have_shapes(path):
  plan = pipeline.build(with_data(path))
  task, rule = plan.meta_train.task, plan.meta_train.rule
  params, _ = jax.eval_shape(task.init, jax.random.key(0))
  theta = jax.eval_shape(rule.init, jax.random.key(0), params)
  state = jax.eval_shape(lambda t, p: rule.bind(t, 10).init(p), theta, params)
  assert jax.tree.leaves(theta)
  assert jax.tree.leaves(state)


QUICK = ('quickstart',)  # the others take minutes


@pytest.mark.parametrize(
  'path',
  [pytest.param(p, marks=() if p.stem in QUICK else pytest.mark.slow, id=p.stem) for p in FILES],
)
def test_its_smoke_variant_runs_to_results(path, tmp_path):
  config = with_data(path, 'smoke')
  run.run(config, tmp_path / 'run', default=load(path), overrides={})
  rows = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert rows

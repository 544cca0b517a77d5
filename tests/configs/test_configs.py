"""Every config file loads, builds abstractly, and its smoke variant runs."""

import json
import pathlib

import jax
import pytest

from configs import common
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


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_it_builds_and_its_states_have_shapes(path):
  plan = pipeline.build(load(path))
  task, rule = plan.meta_train.task, plan.meta_train.rule
  params, _ = jax.eval_shape(task.init, jax.random.key(0))
  theta = jax.eval_shape(rule.init, jax.random.key(0), params)
  state = jax.eval_shape(lambda t, p: rule.bind(t, 10).init(p), theta, params)
  assert jax.tree.leaves(theta)
  assert jax.tree.leaves(state)


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_its_smoke_variant_runs_to_results(path, tmp_path):
  config = load(path, 'smoke')
  run.run(config, tmp_path / 'run', default=load(path), overrides={})
  rows = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert rows

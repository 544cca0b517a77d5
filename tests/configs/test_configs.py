"""Every config file loads, builds abstractly, and its smoke variant runs."""

import json
import pathlib

import flax
import jax
import numpy as np
import pytest

import datasets
from configs import common, l3rs_paper
from datasets import batch_sources
from l2o.errors import InputError
from l2o.models import MODELS
from l2o.registry import build
from l2o.rules import RULES
from l2o.tasks import TASKS
from tests.l2o.rules.velo_reference import released
from trainers import run
from trainers.jobs import pipeline, training_job

FILES = sorted(
  p for p in pathlib.Path('configs').glob('*.py') if p.stem not in ('__init__', 'common')
)
QUICKSTART = pathlib.Path('configs/quickstart.py')
PRETRAINED = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'pretrained'


def load(path, arg=''):
  import importlib

  return common.freeze(importlib.import_module(f'configs.{path.stem}').get_config(arg))


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_it_says_how_to_run_it(path):
  text = path.read_text()
  assert f'python main.py --config=configs/{path.name} --workdir=' in text
  assert f'python main.py --config=configs/{path.name}:smoke --workdir=' in text


def with_data(path, arg=''):
  """The config, or a skip if this machine does not have its data or its weights."""
  config = load(path, arg)
  for start in config.get('pretrain', {}).get('starts', {}).values():
    if weights := start.get('weights'):
      start['weights'] = str(PRETRAINED / weights)
      if not pathlib.Path(start['weights']).exists():
        pytest.skip(f'no {weights} in ../shared')
  if (weights := config.get('start', '')) and not pathlib.Path(weights).exists():
    pytest.skip(f'no {weights} here')
  sources = [*config.get('sources', {}).values()]
  sources += [
    batch_source['source']
    for batch_source in [config.get('batch_source', {})]
    if 'source' in batch_source
  ]
  try:
    for spec in sources:
      if spec['name'] == 'tfds':
        datasets.load(spec, 'validation')
    if config.get('batch_source', {}).get('name') == 'lane_keeping':
      batch_sources.load(config['batch_source'], seed=0)
  except InputError as error:
    pytest.skip(str(error))
  return config


def without_data(path):
  """The config, its data sets replaced by black images."""
  config = load(path)
  if 'sources' in config:
    return config | {'sources': {name: common.blank(name, 32) for name in config['sources']}}
  blank = common.blank(config['batch_source']['source']['dataset'], 32)
  return config | {'batch_source': config['batch_source'] | {'source': blank}}


# They decode what l3rs_cifar100 does; without their data they build in every test run.
DECODING = ('l3rs_experiments', 'hub_finetune')
BUILT = [
  pytest.param(with_data, p, id=p.stem, marks=[pytest.mark.slow] * (p.stem in DECODING))
  for p in FILES
]
BUILT += [
  pytest.param(without_data, p, id=f'{p.stem}, blank', marks=pytest.mark.large)
  for p in FILES
  if p.stem in DECODING
]


@pytest.mark.parametrize(('found', 'path'), BUILT)
def test_it_builds_and_its_states_have_shapes(found, path):
  config = found(path)
  if 'train' in config:
    alone = config | {'sweep': [], 'first': []}
    for row in [*config['first'], {'diff': {}}]:
      # which looks at a whole step's shapes
      training_job.build(common.with_diff(alone, row['diff']))
    return
  plan = pipeline.build(config)
  task, rule = plan.meta_train.task, plan.meta_train.rule
  params, _ = jax.eval_shape(task.init, jax.random.key(0))
  theta = jax.eval_shape(rule.init, jax.random.key(0), params)
  updates = jax.eval_shape(lambda t, p: first_update(rule.bind(t, 10), p), theta, params)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), updates) == jax.tree.map(
    lambda x: (x.shape, x.dtype), params
  )


def first_update(tx, params):
  return tx.update(params, tx.init(params), params, value=1.0)[0]


def test_released_weights_are_an_argument(tmp_path):
  (tmp_path / 'theta').write_bytes(released())
  plan = pipeline.build(load(QUICKSTART, f'smoke,rule=celo_ft,celo={tmp_path / "theta"}'))
  began = plan.meta_train.rule.init(jax.random.key(0), {})
  assert np.all(began['lstm_init_state']['cell'] == 0.5)
  rows = {row.family for row in plan.meta_evaluate.baselines}
  assert {'celo_released', 'celo_released_head', 'l3rs-quickstart'} <= rows
  with pytest.raises(InputError, match='add velo=FILE'):
    load(QUICKSTART, 'rule=velo_ft')


def test_families_of_the_experiments_can_be_chosen():
  chosen = load(pathlib.Path('configs/l3rs_experiments.py'), 'smoke,family=sgd+muon')
  assert sorted(chosen['meta_evaluate']['baselines']) == ['muon', 'sgd']
  with pytest.raises(InputError, match="no family 'x'"):
    load(pathlib.Path('configs/l3rs_experiments.py'), 'smoke,family=sgd+x')


def test_hand_designed_rivals_are_tuned_with_a_rate_that_decays():
  adam = [f'adam {rate}, linear' for rate in ('0.1', '0.03', '0.01', '0.003')]
  adamax = [f'adamax {rate}' for rate in ('0.1', '0.03', '0.01', '0.003', '0.0003')]
  for name, added in {'function': adam, 'trajectories': adam, 'siren': adamax}.items():
    path = pathlib.Path(f'configs/hub_{name}.py')
    rows = load(path, 'smoke,tuned')['sweep']
    assert [row['table'] for row in rows[-len(added) :]] == added
    assert len(rows) - len(added) == len(load(path, 'smoke')['sweep'])
    decays = {row['diff']['rule']['schedule'] for row in rows[-len(added) :]}
    assert decays == ({'cosine'} if name == 'siren' else {'linear'})


def test_released_celo2_adds_rows_to_the_sweeps_of_hub(tmp_path):
  theta = jax.tree.map(
    np.asarray, build(RULES, {'name': 'celo2'}, 'rule').init(jax.random.key(2), {})
  )
  path = tmp_path / 'celo2'
  path.write_bytes(flax.serialization.msgpack_serialize(theta))
  added = ['celo2 0.01', 'celo2 0.001', 'celo2 0.0001', 'lgl2o, celo2', 'hub, celo2']
  for name in ('function', 'trajectories', 'siren'):
    config = load(pathlib.Path(f'configs/hub_{name}.py'), f'smoke,celo2={path}')
    assert [row['table'] for row in config['sweep']][-5:] == added
  rows = load(pathlib.Path('configs/hub_finetune.py'), f'smoke,celo2={path}')['sweep'][-7:]
  rates = ['celo2 0.03', 'celo2 0.01', 'celo2 0.003', 'celo2 0.001', 'celo2 0.0003']
  assert [row['table'] for row in rows] == [*rates, 'lgl2o, celo2', 'hub block_wise, celo2']
  hub = rows[-1]['diff']['rule']
  assert (hub['weighting'], hub['learned']['learning_rate']) == ('block_wise', 0.003)
  config = load(pathlib.Path('configs/hub_function.py'), f'smoke,celo2={path}')
  alone = common.with_diff(config, {'sweep': [], 'first': []} | config['sweep'][-1]['diff'])
  hub = training_job.build(alone).plan.rule
  held = hub.init(jax.random.key(0), {'x': jax.ShapeDtypeStruct((1000,), np.float32)})
  jax.tree.map(np.testing.assert_array_equal, held['learned'], theta)
  language = load(pathlib.Path('configs/l3rs_language.py'), f'smoke,celo2={path}')
  baselines = pipeline.build(language).meta_evaluate.baselines
  (tuned,) = (row for row in baselines if row.family == 'celo2_linear')
  assert (tuned.family, tuned.settings) == ('celo2_linear', ['0.01', '0.003'])
  jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[1], y), tuned.thetas['rule'], theta)


@pytest.mark.slow
@pytest.mark.parametrize('rule', ['velo_small', 'l3rs-quickstart'])
def test_other_rules_are_arguments(rule):
  assert pipeline.build(load(QUICKSTART, f'smoke,rule={rule}')).meta_train.rule


@pytest.mark.slow  # minutes; .ci/run runs the quickstart's through main.py
@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_its_smoke_variant_runs_to_results(path, tmp_path):
  config = with_data(path, 'smoke')
  run.run(config, tmp_path / 'run', default=load(path), overrides={})
  rows = json.loads((tmp_path / 'run' / 'results.json').read_text())
  if config['sweep']:
    assert len(rows) == len(config['sweep'])
    return
  evaluated = config['meta_evaluate']
  settings = [len(b.get('learning_rates', [0])) for b in evaluated['baselines'].values()]
  cells = len(evaluated['experiments']) * len(evaluated['num_steps']) * (1 + sum(settings))
  assert len(rows) == cells
  assert all(0 <= row['accuracy_mean'] <= 1 for row in rows)


def test_the_papers_scale_has_the_papers_sizes_and_its_states_have_shapes():
  """Without its data: the network, the theta and the state of L3RS for all 110 layers."""
  config = common.freeze(l3rs_paper.get_config())
  model = build(MODELS, config['model'], 'model', num_classes=config['episodes']['num_ways'])
  task = build(TASKS, config['task'], 'task', model=model, image_shape=(256, 256, 3))
  rule = build(RULES, config['rule'], 'rule')
  params, _ = jax.eval_shape(task.init, jax.random.key(0))
  assert len(jax.tree.leaves(params)) == 110
  theta = jax.eval_shape(rule.init, jax.random.key(0), params)
  assert len(theta['embedding']) == 110
  state = jax.eval_shape(lambda t, p: rule.bind(t, 10).init(p), theta, params)
  numbers = [sum(x.size for x in jax.tree.leaves(tree)) for tree in (state, params)]
  assert numbers[0] == pytest.approx(2 * numbers[1], rel=1e-3)
  images = jax.ShapeDtypeStruct((64, 256, 256, 3), 'uint8')
  batch = {'image': images, 'label': jax.ShapeDtypeStruct((64,), 'int32')}
  _, model_state = jax.eval_shape(task.init, jax.random.key(0))
  loss, _ = jax.eval_shape(task.loss, params, model_state, jax.random.key(0), batch)
  assert loss.shape == ()

"""Arguments out of bounds are refused when a thing is built, with a sentence that names them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import l2o
from l2o.estimators import ESTIMATORS
from l2o.models import MODELS
from l2o.registry import build
from l2o.rules.l3rs.directions import _moved, direction
from l2o.tasks import TASKS
from l2o.tasks.classification import classification
from l2o.tasks.function import waves

NAN = float('nan')
SIDES = {
  'hand_designed': {'name': 'hand_designed', 'optimizer': 'sgd'},
  'learned': {'name': 'l3rs'},
}
OPTIMIZER_ARGUMENTS = [
  ('adam', 'b1', 2.0, 'b1 must be at least 0 and below 1, not 2.0'),
  ('adam', 'b2', -0.1, 'b2 must be .* not -0.1'),
  ('adam', 'b1', 'high', 'b1 must be a number'),
  ('adam', 'eps', -1.0, 'eps must be at least 0, not -1'),
  ('adam', 'eps', NAN, 'eps must be'),
  ('adamw', 'weight_decay', -1e-4, 'weight_decay must be at least 0'),
  ('momentum', 'momentum', -0.5, 'momentum must be'),
  ('momentum', 'momentum', 1.5, 'momentum must be'),
  ('momentum', 'nesterov', 'yes', 'nesterov must be True or False'),
  ('prodigy', 'betas', (0.9, 1.1), r'betas\[1\] must be'),
  ('schedule_free_adamw', 'warmup_steps', -1, 'warmup_steps must be'),
]
RULES = [
  ({'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': 0.0}, 'learning_rate must be'),
  ({'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': -1}, 'learning_rate must be'),
  ({'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': NAN}, 'learning_rate must be'),
  ({'name': 'l3rs', 'gammas': (0, 1)}, r'gammas\[1\] must be .* below 1, not 1'),
  ({'name': 'l3rs', 'gammas': (-0.5,)}, r'gammas\[0\] must be'),
  ({'name': 'l3rs', 'gammas': 0.9}, 'gammas must be a list, each .*, not 0.9'),
  ({'name': 'l3rs', 'betas': (1e-3, 0.0)}, r'betas\[1\] must be above 0, not 0.0'),
  ({'name': 'l3rs', 'betas': (NAN,)}, r'betas\[0\] must be'),
  ({'name': 'l3rs', 'embedding_size': -1}, 'embedding_size must be at least 1'),
  ({'name': 'l3rs', 'hidden': (-3,)}, r'hidden\[0\] must be'),
  ({'name': 'l3rs', 'directions': 'adam'}, 'directions must be a list'),
  ({'name': 'velo', 'bank_size': 0}, 'bank_size must be'),
  ({'name': 'velo', 'lstm_width': 0}, 'lstm_width must be'),
  ({'name': 'velo', 'interpolation': 0}, 'interpolation must be'),
  ({'name': 'velo', 'max_steps': 0}, 'max_steps must be'),
  ({'name': 'velo', 'weight_decay': -1.0}, 'weight_decay must be'),
  ({'name': 'celo', 'bank_size': 1.5}, 'bank_size must be a whole number'),
  ({'name': 'celo', 'initial_step': -1.0}, 'initial_step must be'),
  ({'name': 'mlp_lopt', 'hidden_size': 0}, 'hidden_size must be'),
  ({'name': 'adafac_mlp_lopt', 'initial_step': -1.0}, 'initial_step must be'),
  ({'name': 'celo2', 'learning_rate': 0.0}, 'learning_rate must be'),
  ({'name': 'celo2', 'embeddings': '('}, r"embeddings must be a regular expression, not '\('"),
  ({'name': 'celo2', 'schedule': 'cosin'}, "no schedule 'cosin'"),
  ({'name': 'celo2_base', 'weight_decay': -1.0}, 'weight_decay must be'),
  ({'name': 'lgl2o', 'period': 1.5, **SIDES}, 'period must be a whole number of at least 1, not 1'),
  ({'name': 'lgl2o', 'period': True, **SIDES}, 'period must be'),
  ({'name': 'hub', 'weighting': 3, **SIDES}, 'the weighting must be a block'),
]
MODEL_ARGUMENTS = [
  ({'name': 'mlp', 'num_classes': 2, 'features': (8, 0)}, r'features\[1\] must be at least 1'),
  ({'name': 'mlp', 'num_classes': 0}, 'num_classes must be'),
  ({'name': 'resnet', 'num_classes': 2, 'features': (0,)}, r'features\[0\] must be'),
  ({'name': 'resnet', 'num_classes': 2, 'blocks': 0}, 'blocks must be'),
  ({'name': 'resnet', 'num_classes': 2, 'blocks': (1, -1, 1)}, r'blocks\[1\] must be'),
  ({'name': 'resnet', 'num_classes': 2, 'stem': 0}, 'stem must be'),
  ({'name': 'resnet', 'num_classes': 2, 'stem_stride': 0}, 'stem_stride must be'),
  (
    {'name': 'vit', 'num_classes': 2, 'size': 'H'},
    "size must be 'Ti' or 'S' or 'B' or 'L', not 'H'",
  ),
  ({'name': 'vit', 'num_classes': 2, 'heads': 0}, 'heads must be'),
  ({'name': 'siren', 'features': 0}, 'features must be'),
  ({'name': 'siren', 'features': 8, 'num_layers': 0}, 'num_layers must be'),
  ({'name': 'lstm', 'num_outputs': 1, 'features': -4}, 'features must be'),
  ({'name': 'ltc', 'num_outputs': 1, 'units': 0}, 'units must be'),
  ({'name': 'ltc', 'num_outputs': 1, 'sparsity_level': 1.0}, 'sparsity_level must be'),
  ({'name': 'neural_ode', 'features': (0,)}, r'features\[0\] must be'),
  ({'name': 'neural_ode', 'rtol': -1e-3}, 'rtol must be'),
  ({'name': 'lane_keeping', 'recurrent': {'name': 'lstm', 'num_outputs': 0}}, 'num_outputs must'),
  (
    {'name': 'lane_keeping', 'recurrent': {'name': 'lstm', 'num_outputs': 1}, 'dropout': 1.0},
    'dropout must be',
  ),
]
TASK_ARGUMENTS = [
  ({'name': 'function', 'dimension': 0}, 'dimension must be at least 2'),
  ({'name': 'function', 'spread': 0.0}, 'spread must be'),
  ({'name': 'function', 'slope': NAN}, 'slope must be'),
  ({'name': 'classification', 'image_shape': (4, 4, 1), 'crop': -1}, 'crop must be'),
  ({'name': 'classification', 'image_shape': (4, 4, 1), 'crop': 2.5}, 'crop must be'),
  ({'name': 'regression', 'example': {}, 'scale': 0.0}, 'scale must be'),
  ({'name': 'regression', 'example': {}, 'peak': -1.0}, 'peak must be'),
]
ESTIMATOR_ARGUMENTS = [
  ({'name': 'nes', 'population': 0}, 'population must be at least 2'),
  ({'name': 'nes', 'population': 3.5}, 'population must be'),
  ({'name': 'nes', 'sigma': NAN}, 'sigma must be'),
  ({'name': 'full_es', 'sigma': 0.0}, 'sigma must be'),
  ({'name': 'nes', 'sigma_halves_every': 0}, 'sigma_halves_every must be'),
]


@pytest.mark.parametrize(('optimizer', 'argument', 'value', 'says'), OPTIMIZER_ARGUMENTS)
def test_an_optimizers_arguments_have_bounds(optimizer, argument, value, says):
  with pytest.raises(l2o.InputError, match=says):
    l2o.rule('hand_designed', optimizer=optimizer, **{argument: value})
  with pytest.raises(l2o.InputError, match=says):
    direction({'name': optimizer, argument: value})


@pytest.mark.parametrize(('spec', 'says'), RULES)
def test_a_rules_arguments_have_bounds(spec, says):
  with pytest.raises(l2o.InputError, match=says):
    l2o.rule(**spec)


@pytest.mark.parametrize(
  ('table', 'spec', 'says'),
  [
    *((MODELS, *row) for row in MODEL_ARGUMENTS),
    *((TASKS, *row) for row in TASK_ARGUMENTS),
    *((ESTIMATORS, *row) for row in ESTIMATOR_ARGUMENTS),
  ],
)
def test_models_tasks_and_estimators_have_bounds(table, spec, says):
  with pytest.raises(l2o.InputError, match=says):
    build(table, spec, 'entry', model=None, meta_loss=None)


def test_what_is_in_bounds_is_built():
  l2o.rule('hand_designed', optimizer='adam', b1=0, eps=0.0, learning_rate=1, nesterov=True)
  l2o.rule('hand_designed', optimizer='adamw', weight_decay=lambda count: 1e-4, mask=None)
  direction({'name': 'adam', 'b1': jnp.float32(0.8), 'learnable': ()})
  l2o.rule('l3rs', gammas=(0, 0.5), hidden=(), directions=['sgd'])
  build(MODELS, {'name': 'mlp', 'num_classes': np.int64(2), 'features': []}, 'model')


@pytest.mark.parametrize('shape', [{'features': ()}, {'blocks': (1, 1)}])
def test_a_resnet_has_blocks_for_each_stage(shape):
  model = build(MODELS, {'name': 'resnet', 'num_classes': 2, **shape}, 'model')
  with pytest.raises(l2o.InputError, match=r'resnet\.blocks must have one number for each'):
    jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)), train=False))


def test_a_head_that_the_model_lacks_is_named():
  model = build(MODELS, {'name': 'mlp', 'num_classes': 2, 'features': (3,)}, 'model')
  task = classification(model, (2, 2, 1), head='haed')
  pretrained = task.init(jax.random.key(0))
  with pytest.raises(l2o.InputError, match=r"task\.head 'haed' is not a module .*: Dense_0, head"):
    task.init(jax.random.key(1), pretrained)


@pytest.mark.parametrize('offset', [-200.0, -60.0, 20.0, 200.0, float('inf'), float('-inf')])
def test_a_learned_beta_stays_between_0_and_1(offset):
  adamw = direction({'name': 'adamw', 'learnable': ('b1', 'b2')})
  for default in (0.9, 0.999):
    assert 0.0 < np.float32(_moved(default, jnp.float32(offset))) < np.float32(1.0)
  bound = adamw.bind({name: jnp.float32(offset) for name in ('b1', 'b2')})
  params = jnp.array([1.0, -2.0])
  source, _ = bound.advance(params, bound.init(params), params, 1.0)
  assert not np.any(np.isnan(bound.emit(source)))


def test_waves_keep_nan():
  value, slope = jax.value_and_grad(waves)(jnp.array([1.0, jnp.nan, 0.0]))
  assert np.isnan(value)
  assert np.all(np.isnan(slope))

"""LoRA: only adapters are trained, of the right rank, and merged weights give the same logits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import l2o
from l2o.inner.step import InnerState, inner_step
from l2o.models.decoder import Decoder
from l2o.tasks.language_model import language_model
from l2o.tasks.lora import merged

MODEL = Decoder(width=16, depth=1, heads=2, hidden=24)
RANK, ALPHA = 3, 6.0


@pytest.fixture(scope='module')
def task():
  return language_model(MODEL, (9, 1, 1), lora_rank=RANK, lora_alpha=ALPHA)


@pytest.fixture(scope='module')
def network(task):
  return jax.jit(task.whole.init)(jax.random.key(5))


@pytest.fixture(scope='module')
def batch():
  rng = np.random.default_rng(0)
  return {'image': jnp.asarray(rng.integers(0, 256, (4, 9, 1, 1)), jnp.uint8)}


@pytest.fixture(scope='module')
def trained(task, network, batch):
  """The state after eight steps of an L3RS, as meta-training runs it."""
  adapters, model_state = task.init(jax.random.key(1), network)
  rule = l2o.rule('l3rs')
  tx = rule.bind(rule.init(jax.random.key(2), adapters), 8)

  @jax.jit
  def run(params, model_state):
    def step(state, _):
      return inner_step(task, tx, state, jax.random.key(0), batch)

    begun = InnerState(params, model_state, tx.init(params))
    return jax.lax.scan(step, begun, None, length=8)

  state, metrics = run(adapters, model_state)
  return state, metrics['loss']


def test_it_starts_as_the_network_was(task, network, batch):
  adapters, model_state = task.init(jax.random.key(1), network)
  ours, theirs = task.evaluate(adapters, model_state, batch), task.whole.evaluate(*network, batch)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_the_network_is_frozen_to_the_bit_and_the_loss_falls(network, trained):
  state, losses = trained
  jax.tree.map(np.testing.assert_array_equal, state.model_state['base'], network[0])
  assert losses[-1] < losses[0] - 0.05


def test_the_change_of_a_matrix_has_the_adapters_rank(network, trained):
  state, _ = trained
  whole = merged(network[0], state.params, ALPHA / RANK)
  for name in ('gate', 'up', 'out'):
    change = np.asarray(whole['block_0'][name]['kernel'] - network[0]['block_0'][name]['kernel'])
    sizes = np.linalg.svd(change, compute_uv=False)
    assert np.all(sizes[:RANK] > 1e-5)
    assert np.all(sizes[RANK:] < 1e-6)
  np.testing.assert_array_equal(whole['embedding'], network[0]['embedding'])


def test_merged_weights_give_the_same_logits(task, network, trained, batch):
  state, _ = trained
  whole = merged(network[0], state.params, ALPHA / RANK)
  with_adapters = task.evaluate(state.params, state.model_state, batch)
  alone = task.whole.evaluate(whole, network[1], batch)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), with_adapters, alone)

  def add_adapter(layer, args, kwargs, context):
    """W' x = W x + alpha / rank * B^T A^T x, without merging."""
    out = layer(*args, **kwargs)
    if not isinstance(context.module, nn.Dense):
      return out
    own = state.params
    for name in (*context.module.path, 'kernel'):
      own = own[name]
    return out + ALPHA / RANK * (args[0] @ own['a']) @ own['b']

  tokens = batch['image'][:, :-1, 0, 0].astype(jnp.int32)
  with nn.intercept_methods(add_adapter):
    split = MODEL.apply({'params': network[0]}, tokens, train=False)
  logits = MODEL.apply({'params': whole}, tokens, train=False)
  np.testing.assert_allclose(logits, split, rtol=1e-4, atol=1e-5)
  assert np.abs(logits - MODEL.apply({'params': network[0]}, tokens, train=False)).max() > 0.05


def test_only_dense_layers_have_adapters_and_few_numbers(task):
  adapters, _ = jax.eval_shape(task.init, jax.random.key(0))
  assert set(adapters) == {'block_0'}
  count = sum(x.size for x in jax.tree.leaves(adapters))
  assert count == RANK * (4 * (16 + 16) + 3 * (16 + 24))
  gradient = jax.grad(lambda a: optax.tree.norm(a))(jax.tree.map(jnp.ones_like, adapters))
  assert jax.tree.structure(gradient) == jax.tree.structure(adapters)

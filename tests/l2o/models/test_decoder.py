"""The decoder-only transformer, against NumPy and a published model's number of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.errors import InputError
from l2o.models.decoder import Decoder, rotated

SMALL = {'vocab_size': 11, 'width': 12, 'depth': 2, 'heads': 3, 'hidden': 10}


def made(seed=0, tokens=((3, 1, 4, 1, 5), (9, 2, 6, 5, 3)), **more):
  model, tokens = Decoder(**(SMALL | more)), jnp.array(tokens)
  variables = model.init(jax.random.key(seed), tokens, train=False)
  # Larger than they are drawn, so that attention and gates are far from linear.
  params = jax.tree.map(lambda x: 8.0 * x, variables['params'])
  return model, params, tokens


def norm(x, scale):
  return scale * x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-5)


def turned(x):
  """Pairs of channels (i, i + C/2) as complex numbers, turned by their position."""
  half = x.shape[-1] // 2
  pairs = x[..., :half] + 1j * x[..., half:]
  speeds = 10_000.0 ** (-np.arange(half) / half)
  pairs = pairs * np.exp(1j * np.arange(len(x))[:, None] * speeds)
  return np.concatenate([pairs.real, pairs.imag], axis=-1)


def attention(x, p, heads, kv_heads):
  """One text [T, D], head by head."""
  q, k, v = (x @ p[name]['kernel'] for name in ('query', 'key', 'value'))
  size, found = x.shape[-1] // heads, []
  for head in range(heads):
    shared = head // (heads // kv_heads)
    own, of = slice(head * size, (head + 1) * size), slice(shared * size, (shared + 1) * size)
    scores = turned(q[:, own]) @ turned(k[:, of]).T / np.sqrt(size)
    scores[np.triu_indices(len(x), 1)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    found.append(weights / weights.sum(-1, keepdims=True) @ v[:, of])
  return np.concatenate(found, axis=-1) @ p['out']['kernel']


def reference(params, tokens, heads, kv_heads):
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  x = p['embedding'][np.asarray(tokens)]
  for block in (p['block_0'], p['block_1']):
    x = x + attention(norm(x, block['norm_1']['scale']), block['attention'], heads, kv_heads)
    y = norm(x, block['norm_2']['scale'])
    gate, up = y @ block['gate']['kernel'], y @ block['up']['kernel']
    x = x + (gate / (1 + np.exp(-gate)) * up) @ block['out']['kernel']
  return norm(x, p['norm']['scale']) @ p['embedding'].T


@pytest.mark.parametrize('kv_heads', [3, 1])
def test_logits_are_those_of_numpy(kv_heads):
  model, params, tokens = made(kv_heads=kv_heads)
  logits = jax.jit(lambda p: model.apply({'params': p}, tokens, train=True))(params)
  expected = np.stack([reference(params, text, 3, kv_heads) for text in tokens])
  np.testing.assert_allclose(logits, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def test_a_token_changes_no_logits_before_it_and_all_from_it_on():
  model, params, tokens = made()
  run = jax.jit(lambda t: model.apply({'params': params}, t, train=True))
  other = run(tokens.at[0, 2].set(7))
  changed = np.any(np.asarray(run(tokens) != other), axis=-1)
  assert changed.tolist() == [[False, False, True, True, True], [False] * 5]


def test_positions_enter_by_their_distance_alone():
  """Products of a turned query and key, both three positions later, are the same."""
  rng = np.random.default_rng(0)
  q, k = (jnp.asarray(rng.normal(size=4), jnp.float32) for _ in range(2))
  turned_q, turned_k = (rotated(jnp.tile(x, (1, 9, 1, 1)))[0, :, 0] for x in (q, k))
  products = np.asarray(turned_q @ turned_k.T)
  np.testing.assert_allclose(products[3:, 3:], products[:-3, :-3], rtol=1e-4, atol=1e-5)
  assert abs(products[0, 1] - products[0, 0]) > 0.01


def test_it_has_as_many_parameters_as_smollm_135m():
  """huggingface.co/HuggingFaceTB/SmolLM-135M: 134,515,008, embeddings tied."""
  sizes = {'vocab_size': 49_152, 'width': 576, 'depth': 30, 'heads': 9, 'kv_heads': 3}
  model = Decoder(**sizes, hidden=1_536)
  shapes = jax.eval_shape(
    lambda key: model.init(key, jnp.zeros((1, 2), jnp.int32), train=False), jax.random.key(0)
  )
  assert sum(x.size for x in jax.tree.leaves(shapes)) == 134_515_008


def test_bfloat16_computes_in_it_with_parameters_and_logits_in_float32():
  model, params, tokens = made(dtype='bfloat16')
  logits, kept = jax.jit(
    lambda p: model.apply({'params': p}, tokens, train=True, capture_intermediates=True)
  )(params)
  assert logits.dtype == jnp.float32
  blocks = kept['intermediates']
  assert blocks['block_0']['attention']['__call__'][0].dtype == jnp.bfloat16
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(params))
  exact = Decoder(**SMALL).apply({'params': params}, tokens, train=True)
  off = np.abs(np.asarray(logits - exact)).max() / np.abs(np.asarray(exact)).max()
  assert 0 < off < 0.05


@pytest.mark.parametrize(
  ('sizes', 'says'),
  [
    ({'heads': 4}, 'heads of even size: 4 heads do not divide 12 so'),
    ({'kv_heads': 2}, 'decoder.kv_heads must divide the heads: 2 does not divide 3'),
  ],
)
def test_heads_that_do_not_divide_are_refused(sizes, says):
  with pytest.raises(InputError, match=says):
    made(**sizes)

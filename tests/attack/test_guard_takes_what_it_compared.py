"""LGL2O compares the very parameters that the caller then holds, whatever their dtype and size."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o

WEIGHTS = np.linspace(0.3, 1.7, 64, dtype=np.float32)


def loss(params):
  away = params['w'].astype(jnp.float32) - 0.37
  return jnp.sum(WEIGHTS * jnp.abs(away)) / 64


def moved_to(target):
  """Takes its parameters to `target` in every step, as nearly as an update can."""

  def update(grads, state, params):
    return jax.tree.map(lambda p, t: t.astype(p.dtype) - p, params, target), state

  return optax.GradientTransformation(lambda params: (), update)


def drawn(rng, dtype, scale=1.0):
  return jnp.asarray(rng.normal(0.4, scale, 64), dtype)


@pytest.mark.parametrize('whole', [True, False], ids=['one program', 'eager apply'])
@pytest.mark.parametrize('period', [1, 3])
@pytest.mark.parametrize(
  ('dtype', 'far'),
  [('float32', 1.0), ('float32', 1e9), ('bfloat16', 1.0), ('bfloat16', 300.0)],
)
def test_the_losses_in_the_state_are_those_of_what_the_caller_gets(rng, dtype, far, period, whole):
  params = {'w': far * (1 + drawn(rng, dtype)).astype(dtype)}
  # The hand-designed side hardly moves, so that the learned one is taken.
  tx = l2o.lgl2o(optax.sgd(1e-3), moved_to({'w': drawn(rng, dtype)}), period)

  def update(params, state):
    value, grads = jax.value_and_grad(loss)(params)
    extra = {'value_fn': loss, 'value_and_grad_fn': jax.value_and_grad(loss)}
    return tx.update(grads, state, params, value=value, **extra)

  def step(params, state):
    updates, state = update(params, state)
    return optax.apply_updates(params, updates), state

  def step_apart(params, state):
    updates, state = jax.jit(update)(params, state)
    return optax.apply_updates(params, updates), state

  run = jax.jit(step) if whole else step_apart
  state = tx.init(params)
  for _ in range(period):
    params, state = run(params, state)
  assert state.taken_learned == 1
  np.testing.assert_allclose(state.losses[1], jax.jit(loss)(params), rtol=1e-6)

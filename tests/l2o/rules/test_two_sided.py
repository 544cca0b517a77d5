"""HUB and LGL2O as rules: they are the wrappers around what the sides bind to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import l2o
from l2o.inner.rollout import rollout
from tests.problems import quadratic_task, quadratic_tasks, tree

ADAM = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 0.05}
SGD = {'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': 0.05}


def test_a_hub_rule_is_a_hub_of_the_two_transformations():
  params = {name: x for name, x in tree().items() if name in ('scalar', 'conv')}
  rule = l2o.rule('hub', hand_designed=ADAM, learned={'name': 'l3rs'}, weighting='inverted')
  theta = rule.init(jax.random.key(0), params)
  sides = [l2o.rule(**ADAM), l2o.rule('l3rs')]
  parts = [side.bind(theta[name], 9) for side, name in zip(sides, theta, strict=True)]
  assert list(theta) == ['hand_designed', 'learned']
  wanted = l2o.hub(*parts, weighting='inverted')
  tx = rule.bind(theta, 9)
  (got, _), (expected, _) = (
    t.update(params, t.init(params), params, value=1.0) for t in (tx, wanted)
  )
  jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_facts_are_those_of_the_mixture_and_of_both_sides():
  params = {'w': jnp.ones(3)}
  rule = l2o.rule('hub', hand_designed={'name': 'l3rs'}, learned={'name': 'l3rs'})
  tx = rule.bind(rule.init(jax.random.key(0), params), 9)
  _, state = tx.update(params, tx.init(params), params, value=1.0)
  diagnostics = rule.diagnostics(state)
  sides = {
    f'{side}/{name}' for side in ('hand_designed', 'learned') for name in ('mu/adam', 'lambda')
  }
  assert sides | {'weight_mean', 'weight_share', 'nonfinite_learned'} <= diagnostics.keys()


def test_theta_for_other_layers_is_adapted_side_by_side():
  rule = l2o.rule('hub', hand_designed=ADAM, learned={'name': 'l3rs'})
  theta = rule.init(jax.random.key(0), {'a': jnp.ones(2)})
  other = {'b': jnp.ones(2), 'c': jnp.ones(3)}
  with pytest.raises(l2o.InputError, match='layers'):
    rule.retarget(theta, other)
  retargeted = rule.retarget(theta, other, on_mismatch='mean_embedding')
  tx = rule.bind(retargeted, 9)
  tx.update(other, tx.init(other), other, value=1.0)


@pytest.mark.parametrize(
  ('learned', 'rate', 'taken'), [(SGD, -1.0, 'hand_designed'), (ADAM, 0.05, 'both')]
)
def test_in_the_inner_loop_a_guard_takes_the_better_side(learned, rate, taken):
  task, tasks = quadratic_task(), quadratic_tasks(jax.random.key(2), num_steps=6)
  rule = l2o.rule('lgl2o', hand_designed=SGD, learned=learned)
  episode = jax.tree.map(lambda x: x[0], tasks.episodes)
  theta = rule.init(jax.random.key(0), episode.params) | {'learned': {'learning_rate': rate}}
  alone = l2o.rule(**SGD)

  @jax.jit
  def final(num_steps):
    tx = rule.bind(theta, num_steps)
    guarded, _ = rollout(task, tx, episode, {}, num_steps)
    tx = alone.bind({'learning_rate': 0.05}, num_steps)
    return guarded, rollout(task, tx, episode, {}, num_steps)[0]

  guarded, fallback = final(jnp.int32(6))
  diagnostics = rule.diagnostics(guarded.opt_state)
  if taken == 'hand_designed':
    assert diagnostics['taken_hand_designed'] == 6
    np.testing.assert_allclose(guarded.params['w'], fallback.params['w'], rtol=1e-5)
  else:
    assert diagnostics['taken_learned'] > 0
  assert (
    diagnostics['taken_hand_designed'] + diagnostics['taken_learned'] + diagnostics['skipped'] == 6
  )


def test_in_the_inner_loop_a_guard_compares_on_the_next_batch():
  """The batches pull in turn to either side, and on its own a long step looks good: at the last."""
  task, tasks = quadratic_task(), quadratic_tasks(jax.random.key(2), num_steps=5)
  rule = l2o.rule('lgl2o', hand_designed=SGD, learned=SGD | {'learning_rate': 0.9})
  episode = jax.tree.map(lambda x: x[0], tasks.episodes)
  pulls = jnp.where(jnp.arange(6) % 2, 10.0, -10.0)[:, None].repeat(5, axis=1)
  episode = episode._replace(train={'slope': pulls})
  theta = rule.init(jax.random.key(0), episode.params)

  @jax.jit
  def diagnostics(num_steps):
    final, _ = rollout(task, rule.bind(theta, num_steps), episode, {}, num_steps)
    return rule.diagnostics(final.opt_state)

  seen = diagnostics(jnp.int32(5))
  assert (seen['taken_hand_designed'], seen['taken_learned']) == (4, 1)


@pytest.mark.parametrize(
  ('spec', 'says'),
  [
    ({'name': 'hub', 'hand_designed': ADAM, 'learned': {'name': 'vela'}}, "no rule 'vela'"),
    ({'name': 'hub', 'hand_designed': ADAM, 'learned': SGD, 'weighting': 'half'}, 'weighting'),
    ({'name': 'lgl2o', 'hand_designed': ADAM, 'learned': SGD, 'period': 0}, 'at least 1, not 0'),
    ({'name': 'lgl2o', 'hand_designed': ADAM}, 'needs learned'),
  ],
)
def test_what_cannot_be_is_refused(spec, says):
  with pytest.raises(l2o.InputError, match=says):
    l2o.rule(**spec)

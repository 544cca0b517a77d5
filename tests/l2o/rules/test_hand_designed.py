"""Hand-designed optimizers as rules."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from l2o.rules.hand_designed import OPTIMIZERS
from l2o.rules.schedules import schedule
from tests.l2o.rules import references
from tests.problems import coupled_problem


def updates_of(tx, steps=6):
  """Six updates on asymmetric gradients that change from step to step."""
  params = {'body': jnp.array([1.0, -2.0]), 'head': jnp.array([0.5])}
  state, seen = tx.init(params), []
  for k in range(steps):
    grads = jax.tree.map(lambda w, k=k: jnp.sin(w + k) + 0.2, params)
    updates, state = tx.update(grads, state, params, value=1.0, ignored=2)
    seen.append(updates)
  return jax.tree.map(lambda *x: np.stack(x), *seen)


@pytest.mark.parametrize(
  ('arguments', 'theirs'),
  [
    ({'optimizer': 'adam'}, optax.adam(0.03)),
    ({'optimizer': 'adam', 'b1': 0.5}, optax.adam(0.03, b1=0.5)),
    ({'optimizer': 'sgd'}, optax.sgd(0.03)),
    (
      {'optimizer': 'adam', 'schedule': 'cosine'},
      optax.adam(optax.cosine_decay_schedule(0.03, 10)),
    ),
  ],
)
def test_it_is_optax_own_with_that_learning_rate(arguments, theirs):
  rule = l2o.rule('hand_designed', **arguments)
  ours = rule.bind({'learning_rate': jnp.float32(0.03)}, jnp.int32(10))
  expected = updates_of(optax.with_extra_args_support(theirs))
  for name, got in updates_of(ours).items():
    np.testing.assert_allclose(got, expected[name], rtol=1e-5, atol=1e-9)


# Optimizer, learning rate, further arguments. float32 has the rates, and what a warm-up of 4 steps
# makes of them, exactly. Decays that are zero by default are set, Prodigy runs also from where it
# adapts within the run, and Lion overshoots: only its signs show its betas.
CASES = [
  ('adafactor', 2**-3, {'weight_decay_rate': 0.1}),
  ('adafactor', 2**-3, {'min_dim_size_to_factor': 2, 'momentum': 0.5, 'clipping_threshold': 0.75}),
  ('sgd', 2**-4, {}),
  ('momentum', 2**-5, {}),
  ('momentum', 2**-5, {'momentum': 0.5}),
  ('adam', 2**-3, {}),
  ('adamw', 2**-3, {'weight_decay': 0.1}),
  ('adamax', 2**-3, {}),
  ('ademamix', 2**-3, {'weight_decay': 0.1}),
  ('muon', 2**-3, {'weight_decay': 0.1}),
  ('nadamw', 2**-3, {'weight_decay': 0.1}),
  ('lion', 2**-2, {'weight_decay': 0.1}),
  ('lamb', 2**-4, {'weight_decay': 0.1}),
  ('prodigy', 1.0, {'estim_lr0': 0.01, 'weight_decay': 0.1}),
  ('prodigy', 1.0, {}),
  ('schedule_free_adamw', 2**-3, {'weight_decay': 0.1}),
  ('schedule_free_adamw', 2**-3, {'warmup_steps': 4}),
]
TOLERANCE = {'rtol': 1e-11, 'atol': 1e-13}
ROUNDED = {'adafactor': {'rtol': 1e-5}}  # optax computes its decay in float32
SCHEDULES_OF = dict.fromkeys(OPTIMIZERS, ('constant', 'cosine')) | {
  'schedule_free_adamw': ('constant',)
}


@pytest.mark.parametrize(
  ('optimizer', 'rate', 'constants', 'schedule'),
  [(*case, schedule) for case in CASES for schedule in SCHEDULES_OF[case[0]]],
)
def test_it_is_the_reference_over_20_steps(optimizer, rate, constants, schedule):
  start, gradient = coupled_problem()
  shape = [(1 + np.cos(np.pi * k / 20)) / 2 if schedule == 'cosine' else 1.0 for k in range(20)]
  reference = getattr(references, optimizer)
  expected = list(reference(gradient, start, [rate * s for s in shape], **constants))
  rule = l2o.rule('hand_designed', optimizer=optimizer, schedule=schedule, **constants)
  # In float64, where eps shows; what is left is the order of the sums.
  with jax.enable_x64(True):
    tx = rule.bind({'learning_rate': jnp.float32(rate)}, jnp.int64(20))
    params = jax.tree.map(jnp.asarray, start)
    state, update = tx.init(params), jax.jit(tx.update)
    for trained, evaluated in expected:
      updates, state = update(gradient(params), state, params, value=0.0)
      params = optax.apply_updates(params, updates)
      for got, want in ((params, trained), (rule.eval_params(state, params), evaluated)):
        for name in start:
          assert got[name].dtype == jnp.float64
          tolerance = TOLERANCE | ROUNDED.get(optimizer, {})
          np.testing.assert_allclose(got[name], want[name], **tolerance)


def test_every_optimizer_has_a_case():
  assert {case[0] for case in CASES} == set(OPTIMIZERS)


@pytest.mark.parametrize(('optimizer', 'rate', 'constants'), CASES)
def test_another_constant_would_not_pass_for_the_reference(optimizer, rate, constants):
  start, gradient = coupled_problem()
  reference = getattr(references, optimizer)
  parameters = list(inspect.signature(reference).parameters.values())[3:]

  def last(**changed):
    *_, (_, evaluated) = reference(gradient, start, [rate] * 20, **(constants | changed))
    return np.concatenate([np.ravel(leaf) for leaf in evaluated.values()])

  for name, value in ({p.name: p.default for p in parameters} | constants).items():
    if np.any(value) and not isinstance(value, int):  # a decay of zero is another case's
      assert not np.allclose(last(**{name: np.multiply(value, 0.9)}), last(), **TOLERANCE), name


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_a_stack_of_learning_rates_and_horizons_is_one_program(optimizer):
  rule = l2o.rule('hand_designed', optimizer=optimizer, schedule=SCHEDULES_OF[optimizer][-1])
  start, gradient = coupled_problem()
  start = jax.tree.map(jnp.float32, start)

  @jax.jit
  def after_three(theta, num_steps):
    tx = rule.bind(theta, num_steps)
    params, state = start, tx.init(start)
    for _ in range(3):
      updates, state = tx.update(gradient(params), state, params, value=0.0)
      params = optax.apply_updates(params, updates)
    return rule.eval_params(state, params)

  rates, horizons = jnp.array([0.5, 0.01]), jnp.array([4, 9])
  stacked = jax.vmap(after_three)({'learning_rate': rates}, horizons)
  for i, (rate, horizon) in enumerate(zip(rates, horizons, strict=True)):
    alone = after_three({'learning_rate': rate}, horizon)
    for name in start:
      np.testing.assert_allclose(stacked[name][i], alone[name], rtol=1e-5)
  assert after_three._cache_size() == 1
  assert np.any(stacked['bias'][0] != stacked['bias'][1])


def test_muon_takes_a_convolution_as_a_matrix_of_all_its_inputs(rng):
  tx = l2o.rule('hand_designed', optimizer='muon').bind({'learning_rate': 0.1}, 5)
  grads = {'kernel': jnp.asarray(rng.normal(size=(3, 2, 2, 5)), jnp.float32)}
  updates, _ = tx.update(grads, tx.init(grads), grads, value=0.0)
  matrix = np.asarray(grads['kernel'], np.float64).reshape(12, 5)
  expected = -0.1 * 0.2 * np.sqrt(12) * references.orthogonalized(matrix)
  np.testing.assert_allclose(updates['kernel'].reshape(12, 5), expected, rtol=1e-3, atol=1e-6)


def test_bfloat16_is_trained_in_float32():
  rule = l2o.rule('hand_designed', optimizer='adam')
  tx = rule.bind({'learning_rate': 0.1}, 5)
  params = jnp.array([1.0, -2.0], jnp.bfloat16)
  state = tx.init(params)
  for grads in (jnp.array([4.0, 1.0], jnp.bfloat16), jnp.zeros(2, jnp.bfloat16)):
    _, state = tx.update(grads, state, params, value=0.0)
  # 0.999 is 1 in bfloat16: there the second moment would still be 0.001 g^2.
  np.testing.assert_allclose(optax.tree.get(state, 'nu'), [0.999 * 0.016, 0.999 * 0.001], rtol=1e-5)


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_the_state_can_be_donated_with_the_parameters(optimizer):
  tx = l2o.rule('hand_designed', optimizer=optimizer).bind({'learning_rate': 0.1}, 5)
  params = {'w': jnp.array([1.0, -2.0])}
  update = jax.jit(lambda p, s: tx.update(p, s, p, value=0.0), donate_argnums=(0, 1))
  updates, _ = update(params, tx.init(params))
  assert np.all(np.isfinite(updates['w']))


def test_head_only_trains_the_head_as_before_and_nothing_else():
  free = l2o.rule('hand_designed', optimizer='adam')
  held = l2o.rule('hand_designed', optimizer='adam', trainable='head')
  theta = {'learning_rate': jnp.float32(0.01)}
  a, b = updates_of(free.bind(theta, 10)), updates_of(held.bind(theta, 10))
  np.testing.assert_array_equal(a['head'], b['head'])
  np.testing.assert_array_equal(b['body'], 0.0)
  assert np.all(a['body'] != 0.0)


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_a_head_is_named_by_its_path_and_trained_as_if_it_were_alone(optimizer):
  start, gradient = coupled_problem()
  start = jax.tree.map(jnp.float32, start)
  tree = {'decoder': {'head': start, 'headless': jnp.ones(2)}, 'head': jnp.ones(3)}
  theta = {'learning_rate': jnp.float32(0.1)}
  free = l2o.rule('hand_designed', optimizer=optimizer)
  held = l2o.rule('hand_designed', optimizer=optimizer, trainable='head', head='decoder/head')
  a, b = free.bind(theta, 10), held.bind(theta, 10)
  alone, state_a, state_b = start, a.init(start), b.init(tree)
  for _ in range(4):
    grads = {'decoder': {'head': gradient(alone), 'headless': jnp.ones(2)}, 'head': jnp.ones(3)}
    updates, state_a = a.update(grads['decoder']['head'], state_a, alone, value=0.0)
    alone = optax.apply_updates(alone, updates)
    updates, state_b = b.update(grads, state_b, tree, value=0.0)
    tree = optax.apply_updates(tree, updates)
  expected = free.eval_params(state_a, alone)
  got = held.eval_params(state_b, tree)
  for name in start:
    np.testing.assert_array_equal(got['decoder']['head'][name], expected[name])
  np.testing.assert_array_equal(got['decoder']['headless'], 1.0)
  np.testing.assert_array_equal(got['head'], 1.0)


def test_schedule_free_is_judged_by_its_averages():
  rule = l2o.rule('hand_designed', optimizer='schedule_free_adamw', trainable='head')
  tx = rule.bind({'learning_rate': 0.1}, 5)
  params = {'body': jnp.ones(2, jnp.bfloat16), 'head': jnp.ones(2, jnp.bfloat16)}
  state = tx.init(params)
  for _ in range(3):
    updates, state = tx.update(params, state, params, value=0.0)
    params = optax.apply_updates(params, updates)
  judged = rule.eval_params(state, params)
  assert judged['head'].dtype == jnp.bfloat16
  assert np.all(judged['head'] != params['head'])
  assert judged['body'] is params['body']


def test_cosine_reaches_zero_at_the_horizon_and_stays():
  cosine = schedule('cosine')
  at = [2.0 * cosine(k, jnp.int32(8)) for k in (0, 2, 8, 9)]
  np.testing.assert_allclose(at, [2.0, 1 + 2**-0.5, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
  ('spec', 'theirs'),
  [
    (
      {'name': 'cosine', 'warmup': 0.1},
      lambda lr: optax.join_schedules(
        [optax.linear_schedule(lr / 11, lr, 10), optax.cosine_decay_schedule(lr, 90)], [10]
      ),
    ),
    (
      {'name': 'linear', 'warmup': 0.1},
      lambda lr: optax.join_schedules(
        [optax.linear_schedule(lr / 11, lr, 10), optax.linear_schedule(lr, 0.0, 90)], [10]
      ),
    ),
    (
      {'name': 'step', 'every': 30, 'factor': 0.3},
      lambda lr: optax.exponential_decay(lr, 30, 0.3, staircase=True),
    ),
  ],
)
def test_a_schedule_is_optax_own(spec, theirs):
  """For sgd, whose update is the learning rate."""
  tx = l2o.rule('hand_designed', optimizer='sgd', schedule=spec).bind({'learning_rate': 0.2}, 100)

  def step(state, _):
    updates, state = tx.update(jnp.float32(1.0), state, jnp.float32(0.0), value=0.0)
    return state, -updates

  _, taken = jax.lax.scan(step, tx.init(jnp.float32(0.0)), length=100)
  np.testing.assert_allclose(taken, jax.vmap(theirs(0.2))(jnp.arange(100)), rtol=1e-5, atol=1e-7)


def test_the_learning_rate_is_what_theta_begins_with():
  rule = l2o.rule('hand_designed', optimizer='sgd', learning_rate=0.25)
  assert rule.init(jax.random.key(0), {}) == {'learning_rate': 0.25}


def test_a_stack_of_learning_rates_is_a_grid():
  rule = l2o.rule('hand_designed', optimizer='sgd')
  rates = jnp.array([0.1, 0.01])

  def first(theta):
    tx = rule.bind(theta, 5)
    return tx.update(jnp.array([2.0]), tx.init(jnp.array([1.0])), value=0.0)[0]

  np.testing.assert_allclose(jax.vmap(first)({'learning_rate': rates}), [[-0.2], [-0.02]])


@pytest.mark.parametrize(
  ('arguments', 'says'),
  [
    (
      {'optimizer': 'lionn'},
      "no optimizer 'lionn'.*mean 'lion'.*adam, adamax, adamw, ademamix, lamb",
    ),
    ({'optimizer': 'adam', 'schedule': 'cubic'}, "no schedule 'cubic'.*constant, cosine"),
    ({'optimizer': 'adam', 'trainable': 'tail'}, "'tail'.*all, head"),
    ({'optimizer': 'sgd', 'b1': 0.9}, "sgd has no 'b1'"),
    ({'optimizer': 'prodigy', 'b1': 0.9}, "prodigy has no 'b1'.*betas"),
    ({'optimizer': 'sgd', 'schedule': {'name': 'cosine', 'warmup': 1}}, 'warm-up'),
    ({'optimizer': 'sgd', 'schedule': {'name': 'step', 'every': 0, 'factor': 1}}, 'every must be'),
    ({'optimizer': 'schedule_free_adamw', 'schedule': 'cosine'}, 'schedule must be constant'),
    ({'optimizer': 'schedule_free_adamw', 'b1': 0}, 'b1 must be above 0'),
  ],
)
def test_wrong_arguments_are_refused_with_the_choices(arguments, says):
  with pytest.raises(l2o.InputError, match=says):
    l2o.rule('hand_designed', **arguments)


@pytest.mark.parametrize(
  ('head', 'says'),
  [
    ('logits', "no head 'logits'.*modules: body, decoder, head$"),
    ('decoder/tail', "no head 'decoder/tail'.*modules: body/bias, decoder/head, head$"),
    ('hea', "no head 'hea' "),
  ],
)
def test_a_network_without_that_head_is_refused(head, says):
  rule = l2o.rule('hand_designed', optimizer='sgd', trainable='head', head=head)
  params = {'head': jnp.ones(1), 'body': {'bias': jnp.ones(1)}, 'decoder': {'head': [jnp.ones(1)]}}
  with pytest.raises(l2o.InputError, match=says):
    rule.bind({'learning_rate': 0.1}, 5).init(params)

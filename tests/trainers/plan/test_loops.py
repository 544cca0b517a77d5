"""Loops of known length are counted in full."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.models.lstm import LSTM
from l2o.rules.mlp_lopt import mlp_lopt
from trainers.plan.analysis import analyse
from trainers.plan.hlo import executions, repeated


def counted(function, *shapes):
  """The operations of a call, as a plan has them."""
  given = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
  return analyse(jax.jit(function).lower(*given).compile()).operations


def test_loops_in_loops_multiply():
  def inner(x):
    return jax.lax.scan(lambda y, _: (y @ y, None), x, length=5)[0]

  def outer(x):
    return jax.lax.scan(lambda y, _: (inner(y), None), x, length=7)[0]

  assert counted(outer, (48, 48)) == pytest.approx(35 * 2 * 48**3, rel=0.02)


def test_what_is_beside_a_loop_counts_once():
  def loss(x, w, v):
    y = jax.lax.map(lambda row: row @ w, x)
    return y @ v

  expected = 2 * 12 * (64 * 32 + 32 * 512)
  assert counted(loss, (12, 64), (64, 32), (32, 512)) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
  ('padding', 'stride', 'apart'), [('SAME', 2, 1), ('VALID', 3, 2), (3, 1, 2)]
)
def test_convolutions_in_a_loop_count_as_one_alone(padding, stride, apart):
  """With their gradients, whose images and kernels are dilated."""
  padding = padding if isinstance(padding, str) else [(padding, 0), (0, padding)]

  def step(kernel, image):
    convolve = lambda kernel, image: jax.lax.conv_general_dilated(  # noqa: E731
      image, kernel, (stride, stride), padding, rhs_dilation=(apart, 1)
    )
    found = jax.grad(lambda *both: jnp.sum(convolve(*both) ** 2), argnums=(0, 1))(kernel, image)
    return kernel + found[0], found[1]

  shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((8, 3, 5, 5), (6, 2, 3, 13, 16))]
  loop = jax.jit(lambda kernel, images: jax.lax.scan(step, kernel, images)).lower(*shapes)
  one = jax.ShapeDtypeStruct((2, 3, 13, 16), np.float32)
  alone = analyse(jax.jit(step).lower(shapes[0], one).compile()).operations
  assert analyse(loop.compile()).operations == pytest.approx(6 * alone, rel=0.02)


def test_a_product_of_stacks_that_a_tpu_writes_as_a_convolution():
  """Of 5 x 3 pairs of matrices [7, 8] and [8, 9]: each meets one entry along the stacks."""
  rest = 'window={size=5x3 stride=4x2 lhs_dilate=5x3}, dim_labels=01bf_01io->01bf'
  line = f'ROOT %dense = f32[5,3,7,9]{{3,2,1,0}} convolution(%left, %right), {rest}'
  text = PROGRAM.replace('left = f32[4,6]', 'left = f32[5,3,7,8]')
  text = text.replace('right = f32[6,6]', 'right = f32[5,3,8,9]')
  text = re.sub(r'ROOT %dense = .*', line, text)
  assert repeated(text) == 39 * (2 * 5 * 3 * 7 * 8 * 9 + 1)


def test_a_loop_of_unknown_length_counts_once():
  loop = jax.jit(lambda x, n: jax.lax.fori_loop(0, n, lambda _, y: y @ y, x))
  compiled = loop.lower(jnp.ones((64, 64)), 5).compile()
  assert repeated(compiled.as_text()) == 0
  assert analyse(compiled).operations == pytest.approx(2 * 64**3, rel=0.02)


def test_every_computation_of_a_program_is_executed():
  def loss(x):
    step = lambda y, _: (jax.lax.cond(y[0, 0] > 0, jnp.sin, lambda y: y @ y, y), None)  # noqa: E731
    return jax.lax.scan(step, x, length=9)[0]

  text = jax.jit(loss).lower(jnp.ones((8, 8))).compile().as_text()
  times = {one.kind: count for one, count, _ in executions(text) if one.kind in ('dot', 'sine')}
  assert times == {'dot': 9, 'sine': 9}
  assert not [one for one, count, _ in executions(text) if not count]


PROGRAM = """
%condition (at: (s32[], f32[4,6])) -> pred[] {
  %bound = s32[]{:T(128)} constant(40)
  %at = (s32[]{:T(128)}, f32[4,6]{1,0:T(8,128)S(1)}) parameter(0)
  %counter = s32[]{:T(128)} get-tuple-element(%at), index=0
  ROOT %less = pred[]{:T(512)} compare(%counter, %bound), direction=LT, backend_config={"x":[]}
}

%product (left: f32[4,6], right: f32[6,6]) -> f32[4,6] {
  %left = f32[4,6]{1,0} parameter(0)
  %right = f32[6,6]{1,0} parameter(1)
  ROOT %dense = f32[4,6]{1,0:T(8,128)} convolution(%left, %right), dim_labels=bf_io->bf
}

%body (now: (s32[], f32[4,6])) -> (s32[], f32[4,6]) {
  %now = (s32[]{:T(128)}, f32[4,6]{1,0:T(8,128)S(1)}) parameter(0)
  %old = f32[4,6]{1,0} get-tuple-element(%now), index=1
  %same = f32[6,6]{1,0} constant({...})
  %new = f32[4,6]{1,0} fusion(%old, %same), kind=kOutput, calls=%product
  %step = s32[] get-tuple-element(%now), index=0
  ROOT %next = (s32[], f32[4,6]{1,0}) tuple(%step, %new)
}

ENTRY %main (first: (s32[], f32[4,6])) -> (s32[], f32[4,6]) {
  %first = (s32[]{:T(128)}, f32[4,6]{1,0:T(8,128)S(1)}) parameter(0)
  ROOT %loop = (s32[], f32[4,6]{1,0}) while(%first), condition=%condition, body=%body
}
"""


def test_on_a_tpu_the_length_is_the_bound_of_the_counter():
  step = 2 * 4 * 6 * 6
  assert repeated(PROGRAM) == 39 * step + 39  # and the comparisons
  assert repeated(PROGRAM.replace('direction=LT', 'direction=NE')) == 0
  unknown = PROGRAM.replace('constant(40)', 'get-tuple-element(%at), index=0')
  assert repeated(unknown) == 0


def test_a_text_that_is_no_program_has_no_instructions():
  assert not list(executions(''))
  assert repeated('HloModule x') == 0


@pytest.mark.parametrize('length', [6, 24])
def test_the_steps_of_a_recurrent_network_all_count(length):
  model, width, inputs, batch = LSTM(num_outputs=1, features=32), 32, 8, 16
  x = jnp.ones((batch, length, inputs))
  params = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
  step = jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, x, train=False) ** 2)))
  found = analyse(step.lower(params).compile()).operations
  forward = 2 * batch * length * 4 * width * (inputs + width)
  assert found == pytest.approx(3 * forward, rel=0.3)  # the output layer and the gates besides


def test_all_blocks_of_a_network_for_each_parameter_count():
  params = {'w': jax.ShapeDtypeStruct((512, 600), np.float32)}
  rule = mlp_lopt(hidden_size=32)
  tx = rule.bind(rule.init(jax.random.key(0), params), 10)
  update = jax.jit(tx.update).lower(params, jax.eval_shape(tx.init, params), params)
  found = analyse(update.compile()).operations
  network = 2 * (8 * 32 + 32 * 32 + 32 * 2)
  assert found == pytest.approx(512 * 600 * network, rel=0.1)

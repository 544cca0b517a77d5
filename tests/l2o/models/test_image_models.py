"""The lane-keeping encoder as the paper counts it, and a Siren's activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import l2o
from l2o.models.lane_keeping import FrameEncoder, LaneKeeping
from l2o.models.lstm import LSTM
from l2o.models.siren import Siren
from l2o.models.siren_size import siren_width

FRAMES = jax.ShapeDtypeStruct((2, 66, 200, 3), jnp.float32)


def test_the_encoder_has_the_papers_shapes_and_parameters():
  def run(key, frames):
    return FrameEncoder().init_with_output(
      key, frames, train=False, capture_intermediates=True, mutable=True
    )

  outputs, variables = jax.eval_shape(run, jax.random.key(0), FRAMES)
  assert outputs.shape == (2, 50)
  assert sum(x.size for x in jax.tree.leaves(variables['params'])) == 251_698
  seen = variables['intermediates']
  shapes = [seen[f'Conv_{i}']['__call__'][0].shape[1:] for i in range(5)]
  assert shapes == [(31, 98, 24), (14, 47, 36), (5, 22, 48), (3, 20, 64), (1, 18, 64)]
  assert variables['params']['Dense_0']['kernel'].shape == (1152, 100)


def test_dropout_is_used_in_training_alone(rng):
  frames = jnp.asarray(rng.uniform(size=(1, 66, 200, 3)), jnp.float32)
  model = FrameEncoder(dropout=0.5)
  variables = model.init(jax.random.key(0), frames, train=False)
  still = [model.apply(variables, frames, train=False) for _ in range(2)]
  np.testing.assert_array_equal(*still)
  drawn = [
    model.apply(variables, frames, train=True, rngs={'dropout': jax.random.key(i)}) for i in (1, 2)
  ]
  assert np.any(drawn[0] != drawn[1])


def test_lane_keeping_sees_each_frame_in_its_place(rng):
  video = jnp.asarray(rng.uniform(size=(2, 3, 66, 200, 3)), jnp.float32)
  model = LaneKeeping(LSTM(num_outputs=1, features=4), FrameEncoder())
  variables = model.init(jax.random.key(0), video, train=False)
  before = model.apply(variables, video, train=False)
  assert before.shape == (2, 3, 1)
  after = model.apply(variables, video.at[1, 2].add(0.5), train=False)
  changed = np.abs(after - before)[..., 0] > 1e-6
  np.testing.assert_array_equal(changed, [[False, False, False], [False, False, True]])


def test_the_sines_of_a_siren_are_spread_alike_at_every_depth(rng):
  model = Siren(features=256)
  points = jnp.asarray(rng.uniform(-1, 1, (2000, 3)), jnp.float32)
  _, variables = model.init_with_output(
    jax.random.key(0), points, train=False, capture_intermediates=True, mutable=True
  )
  params, seen = variables['params'], variables['intermediates']
  assert len(params) == 7
  for layer in range(1, 6):
    # w0 W x: normal of variance 1; its sine is arcsine-distributed, of variance 1/2.
    z = np.asarray(seen[f'dense_{layer}']['__call__'][0])
    spread = model.w0 * (z - np.asarray(params[f'dense_{layer}']['bias']))
    assert 0.9 < np.sqrt(np.mean(np.square(spread))) < 1.1, layer
    assert 0.65 < np.std(np.sin(model.w0 * z)) < 0.75, layer
  first = params['dense_0']['kernel']
  assert 0.95 / 3 < np.max(np.abs(first)) <= 1 / 3
  hidden = params['dense_3']['kernel']
  bound = np.sqrt(6 / 256) / 20
  assert 0.99 * bound < np.max(np.abs(hidden)) <= bound
  outputs = seen['head']['__call__'][0]
  assert not np.allclose(outputs, -model.apply(variables, -points, train=False))  # not odd


@pytest.mark.parametrize('max_bytes', [2 * 64**3 / 256, 1e5, 2 * 512**3 / 256])
def test_the_width_is_the_largest_that_fits(max_bytes):
  width = siren_width(max_bytes)
  sizes = []
  for features in (width, width + 1):
    shapes = jax.eval_shape(
      lambda f=features: Siren(f).init(jax.random.key(0), jnp.zeros((1, 3)), train=False)
    )
    sizes.append(sum(4 * x.size for x in jax.tree.leaves(shapes)))
  assert sizes[0] <= max_bytes < sizes[1]


def test_a_budget_that_holds_no_network_is_refused():
  with pytest.raises(l2o.InputError, match='40 bytes are too few for a Siren of 7 layers'):
    siren_width(40)

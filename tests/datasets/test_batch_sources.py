"""Streams: the same batch for a number, the curves they promise, noise where it belongs."""

import numpy as np
import pytest

from datasets import batch_sources
from l2o.errors import InputError


def test_a_number_has_one_batch_whatever_was_drawn_before():
  one, other = (batch_sources.sines(seed=4, noise=0.2) for _ in range(2))
  for number in (0, 1, 2):
    one.sample(number)
  for name, x in one.sample(5).items():
    np.testing.assert_array_equal(x, other.sample(5)[name])
    assert np.any(x != one.sample(6)[name])
  one, other = (batch_sources.sines(seed=seed).sample(5)['inputs'] for seed in (5, 4))
  assert np.any(one != other)


def test_sines_of_three_frequencies_lead_to_a_periodic_curve():
  batch_source = batch_sources.sines(seed=0, num_steps=9, batch_size=3, periods=2.0)
  batch = batch_source.sample(0)
  phase = np.arcsin(batch['inputs'][:, :1, 0])
  t = np.linspace(0, 4 * np.pi, 9)[None]
  for candidate in (phase, np.pi - phase):  # arcsin knows one of two phases
    rows = np.all(np.abs(np.sin(t + candidate) - batch['inputs'][..., 0]) < 1e-5, axis=1)
    for k in (2, 3):
      wanted = np.sin(k * t + candidate)[rows]
      np.testing.assert_allclose(batch['inputs'][rows, :, k - 1], wanted, atol=1e-5)
    wanted = (np.sin(t + candidate) * np.cos(2 * t))[rows]
    np.testing.assert_allclose(batch['target'][rows, :, 0], wanted, atol=1e-5)
  np.testing.assert_allclose(batch['target'][:, 0], batch['target'][:, 4], atol=1e-5)


def test_noise_is_in_training_alone_and_has_its_size():
  clean, noisy = (batch_sources.sines(seed=1, batch_size=64, noise=s) for s in (0.0, 0.3))
  for name in ('inputs', 'target'):
    added = noisy.sample(2)[name] - clean.sample(2)[name]
    assert added.std() == pytest.approx(0.3, rel=0.05)
    np.testing.assert_array_equal(clean.evaluation[name], noisy.evaluation[name])


def test_the_spiral_solves_its_equation():
  """Its radius in the 4-norm: d/dt sum y⁴ = -0.4 sum y⁶, checked by finite differences."""
  curve = batch_sources.spiral(seed=0, num_steps=2001).evaluation
  y, t = np.asarray(curve['target'][0], float), np.asarray(curve['times'], float)
  rate = np.gradient(np.sum(y**4, axis=1), t)
  np.testing.assert_allclose(rate[1:-1], -0.4 * np.sum(y**6, axis=1)[1:-1], rtol=0.02, atol=0.02)
  assert t[-1] == 5.0
  np.testing.assert_array_equal(curve['start'], [[2.0, 0.0]])


def test_copies_of_the_spiral_have_noise_of_their_own():
  batch = batch_sources.spiral(seed=0, batch_size=3, noise=0.1).sample(1)
  first, second, _ = batch['target'] - batch_sources.spiral(seed=0).evaluation['target']
  assert first.std() == pytest.approx(0.1, rel=0.2)
  assert np.abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.4


@pytest.mark.parametrize(
  ('spec', 'says'),
  [
    ({'name': 'sine'}, "no batch_source 'sine'"),
    ({'name': 'sines', 'noise': -1.0}, 'noise must be .*at least 0'),
    ({'name': 'spiral', 'num_steps': 1}, 'num_steps must be .*at least 2'),
    ({'name': 'nothing', 'noise': 1.0}, "has no 'noise'"),
  ],
)
def test_what_cannot_be_is_refused(spec, says):
  with pytest.raises(InputError, match=says):
    batch_sources.load(spec, seed=0)


def test_noise_of_given_shapes_differs_between_steps_and_from_the_evaluation():
  source = batch_sources.noise(3, {'inputs': (50, 4), 'target': (50, 1)})
  assert source.sample(1)['target'].shape == (50, 1)
  for one in (source.evaluation, source.sample(0)):
    assert np.any(source.sample(1)['inputs'] != one['inputs'])
    assert abs(np.std(one['inputs']) - 1) < 0.2
  np.testing.assert_array_equal(source.sample(1)['inputs'], source.sample(1)['inputs'])

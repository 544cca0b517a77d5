"""Reconstructions beside the original."""

import numpy as np

from reports.pictures import Picture, compared


def shown(figure):
  return {axes.get_title('left'): axes.images[0].get_array() for axes in figure.axes if axes.images}


def test_a_photograph_is_shown_with_the_psnr_of_each_network(rng):
  target = rng.uniform(-1, 1, (4, 5, 3))
  panels = shown(compared({'adam': Picture(target, target + 0.2), 'hub': Picture(target, -target)}))
  error = np.mean(4 * target**2)
  assert list(panels) == ['original', 'adam\n20.0 dB', f'hub\n{10 * np.log10(4 / error):.1f} dB']
  np.testing.assert_allclose(panels['original'], (target + 1) / 2)
  np.testing.assert_allclose(panels['adam\n20.0 dB'], np.clip((target + 1.2) / 2, 0, 1))


def test_of_a_volume_the_middle_slice_is_shown_upright(rng):
  target = rng.uniform(-1, 1, (3, 4, 5, 1))
  panels = shown(compared({'adam': Picture(target, target + 0.1)}))
  np.testing.assert_allclose(panels['original'], np.rot90((target[:, :, 2, 0] + 1) / 2))

"""Every operation, policy and crop against what torchvision computed on the same picture."""

import functools
import json

import numpy as np
import pytest
from PIL import Image

from datasets.transforms import TRANSFORMS, build
from datasets.transforms.autoaugment import _colour
from datasets.transforms.operations import OPERATIONS
from datasets.transforms.policies import POLICIES
from datasets.transforms.random_resized_crop import _resized, middle, random_box
from tools.torch_weights import picture


@functools.cache
def recorded():
  with np.load('tests/golden/torchvision_ops.npz') as file:
    return dict(file)


def below(prefix):
  return sorted(key for key in recorded() if key.startswith(prefix))


def image(mode):
  pixels = picture(*recorded()['shape'])
  return Image.fromarray(pixels if mode == 'RGB' else pixels[..., 0])


def transformed(mode, **block):
  return np.asarray(build([block], 'here')(image(mode), np.random.default_rng(0)))


@pytest.mark.parametrize('key', below('operation/'))
def test_every_pixel_of_an_operation_is_torchvisions(key):
  _, name, mode, interpolation = key.split('/')
  operation, found = OPERATIONS[name], recorded()[key]
  how = {
    'resample': Image.Resampling[interpolation.upper()],
    'fillcolor': tuple(np.atleast_1d(recorded()[f'fill/{mode}']).tolist()),
  }
  if mode == 'L':
    (how['fillcolor'],) = how['fillcolor']
  magnitudes = recorded()['magnitude/{}x{}/{}'.format(*recorded()['shape'], name)]
  if operation.ends != (0, 0):
    magnitudes = magnitudes[:, recorded()['levels']]
  else:
    magnitudes = magnitudes[:, :1]
  for magnitude, wanted in zip(magnitudes.flat, found.reshape(-1, *found.shape[2:]), strict=True):
    ours = np.asarray(operation.apply(image(mode), float(magnitude), how))
    np.testing.assert_array_equal(ours, wanted, err_msg=f'magnitude {magnitude}')
  assert not np.array_equal(ours, np.asarray(image(mode))) or (name, mode) == ('Color', 'L')


def test_each_operation_of_torchvision_is_compared():
  assert {key.split('/')[1] for key in below('operation/')} == OPERATIONS.keys()
  assert len(OPERATIONS) == 14


@pytest.mark.parametrize('key', below('magnitude/'))
def test_levels_mean_the_magnitudes_of_torchvision(key):
  _, shape, name = key.split('/')
  height, width = map(int, shape.split('x'))
  operation, wanted = OPERATIONS[name], recorded()[key]
  ours = [operation.magnitude(level, (width, height)) for level in range(10)]
  np.testing.assert_allclose(ours, wanted[0], rtol=2e-7)
  assert operation.signed == (len(wanted) == 2)


def test_policies_are_torchvisions():
  assert {key.split('/')[1] for key in below('policy/')} == POLICIES.keys()
  for name, policy in POLICIES.items():
    assert json.loads(json.dumps(policy)) == json.loads(str(recorded()[f'policy/{name}']))
    assert len(policy) == 25


@pytest.mark.parametrize('key', below('resize/') + below('centre_crop/'))
def test_sizes_and_pixels_of_resize_and_centre_crop(key):
  name, mode, *how, size = key.split('/')
  assert name in TRANSFORMS
  size = tuple(map(int, size.split('x')))
  arguments = {'size': size if len(size) == 2 else size[0]}
  if how:
    arguments['interpolation'] = how[0]
  ours, wanted = transformed(mode, name=name, **arguments), recorded()[key]
  # Pillow rounds between its two passes, and which one comes first depends on its version.
  np.testing.assert_allclose(ours.astype(int), wanted, rtol=0, atol=1 if how else 0)


@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_a_part_is_cut_before_it_is_resized(mode):
  top, left, height, width = recorded()['box'].tolist()
  box = (left, top, left + width, top + height)
  ours = np.asarray(_resized(image(mode), box, 6, Image.Resampling.BICUBIC))
  np.testing.assert_allclose(ours.astype(int), recorded()[f'resized_crop/{mode}'], atol=1)


@pytest.mark.parametrize('key', below('fallback/'))
def test_the_middle_is_taken_where_no_attempt_fits(key):
  *box, height, width, low_scale, high_scale, low, high = recorded()[key].tolist()
  top, left, h, w = box
  size = (int(width), int(height))
  wanted = (left, top, left + w, top + h)
  for seed in range(5):
    rng = np.random.default_rng(seed)
    assert random_box(rng, size, (low_scale, high_scale), (low, high)) == wanted
  assert middle(size, (low, high)) == wanted


def test_a_colour_of_a_grey_image_is_its_luma():
  assert _colour((90, 20, 200), 'RGB') == (90, 20, 200)
  assert _colour((90, 20, 200), 'L') == round(0.299 * 90 + 0.587 * 20 + 0.114 * 200)

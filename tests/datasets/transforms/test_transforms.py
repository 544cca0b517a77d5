"""Chains of transforms: seeds, processes, odd images, and what random draws look like."""

import pickle
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from datasets.transforms import TRANSFORMS, build
from datasets.transforms.policies import POLICIES
from datasets.transforms.random_resized_crop import random_box
from l2o.errors import InputError
from tools.torch_weights import picture

BLOCKS = {
  'autoaugment': {'fill': (30, 200, 90), 'interpolation': 'bilinear'},
  'centre_crop': {'size': (9, 6)},
  'flip': {},
  'random_crop': {'size': (9, 6), 'padding': 2},
  'random_resized_crop': {'size': 9},
  'resize': {'size': 9},
}
CHAIN = [
  {'name': 'random_resized_crop', 'size': 11},
  {'name': 'flip'},
  {'name': 'autoaugment', 'policy': 'cifar10'},
]
IMAGE = Image.fromarray(picture(23, 31))


def pixels(transform, seed, image=IMAGE):
  return np.asarray(transform(image, np.random.default_rng(seed)))


def one(name, **arguments):
  return build([{'name': name, **arguments}], 'feed.train')


@pytest.mark.parametrize('name', TRANSFORMS)
@pytest.mark.parametrize('mode', ['RGB', 'L'])
@pytest.mark.parametrize('shape', [(1, 1), (3, 500), (500, 3), (2, 1), (31, 23)])
def test_odd_images_pass_and_keep_their_mode(name, mode, shape):
  image = Image.fromarray(picture(*shape)).convert(mode)
  transform = one(name, **BLOCKS[name])
  for seed in range(60 if name == 'autoaugment' else 5):
    out = transform(image, np.random.default_rng(seed))
    assert out.mode == mode
    if name in ('flip', 'autoaugment'):
      assert out.size == image.size
    else:
      assert out.height == 9 or (name == 'resize' and out.width == 9)


@pytest.mark.parametrize('name', POLICIES)
def test_every_sub_policy_passes_on_a_pixel_and_a_grey_strip(name):
  transform = one('autoaugment', policy=name)
  for shape in ((1, 1), (3, 40)):
    grey = Image.fromarray(picture(*shape)[..., 0])
    for seed in range(150):
      assert transform(grey, np.random.default_rng(seed)).size == grey.size


def test_the_seed_decides_and_the_original_stays():
  augment = build(CHAIN, 'feed.train')
  before = IMAGE.tobytes()
  images = [pixels(augment, seed) for seed in range(30)]
  for seed, image in enumerate(images):
    np.testing.assert_array_equal(image, pixels(augment, seed))
  assert len({image.tobytes() for image in images}) == 30
  assert IMAGE.tobytes() == before


@pytest.mark.parametrize('name', TRANSFORMS)
def test_a_pickled_transform_does_the_same(name):
  transform = one(name, **BLOCKS[name])
  copy = pickle.loads(pickle.dumps(transform))
  for seed in range(8):
    np.testing.assert_array_equal(pixels(copy, seed), pixels(transform, seed))


def test_blocks_are_applied_first_to_last():
  resize, cut = {'name': 'resize', 'size': (20, 8)}, {'name': 'centre_crop', 'size': 10}
  flip = {'name': 'flip', 'probability': 1.0}
  assert build([resize, cut], 'here')(IMAGE, np.random.default_rng(0)).size == (10, 10)
  assert build([cut, resize], 'here')(IMAGE, np.random.default_rng(0)).size == (8, 20)
  np.testing.assert_array_equal(pixels(build([flip, flip], 'here'), 0), np.asarray(IMAGE))
  np.testing.assert_array_equal(pixels(build([], 'here'), 0), np.asarray(IMAGE))


def test_half_of_the_images_are_flipped():
  mirrored = np.asarray(IMAGE)[:, ::-1]
  flips = [np.array_equal(pixels(one('flip'), seed), mirrored) for seed in range(400)]
  assert 160 < sum(flips) < 240
  rare = [np.array_equal(pixels(one('flip', probability=0.1), s), mirrored) for s in range(400)]
  assert 15 < sum(rare) < 70


def test_a_random_crop_is_each_part_of_the_padded_image():
  image = picture(4, 5)
  padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
  parts = {padded[i : i + 6, j : j + 3].tobytes() for i in range(3) for j in range(7)}
  crop = one('random_crop', size=(6, 3), padding=2)
  drawn = Counter(pixels(crop, s, Image.fromarray(image)).tobytes() for s in range(2100))
  assert drawn.keys() == parts
  assert min(drawn.values()) > 60  # of 100 expected


def test_an_image_smaller_than_its_random_crop_is_placed_whole():
  image = picture(2, 3) + np.uint8(1)
  crop = one('random_crop', size=(4, 9), padding=1)
  found = {pixels(crop, s, Image.fromarray(image)).tobytes() for s in range(300)}
  wanted = set()
  for left in range(1, 6):
    canvas = np.zeros((4, 9, 3), np.uint8)
    canvas[1:3, left : left + 3] = image
    wanted.add(canvas.tobytes())
  assert found == wanted


def test_boxes_of_random_resized_crop_follow_szegedy():
  """Attempts never fail here: fractions and log ratios are uniform, places too."""
  rng = np.random.default_rng(5)
  width, height, scale, ratio = 3000, 2000, (0.1, 0.4), (0.5, 1.5)
  boxes = np.array([random_box(rng, (width, height), scale, ratio) for _ in range(4000)])
  left, top, right, bottom = boxes.T
  w, h = right - left, bottom - top
  assert boxes.min() >= 0
  assert right.max() <= width
  assert bottom.max() <= height
  for values, (low, high) in (
    (w * h / (width * height), scale),
    (np.log(w / h), np.log(ratio)),
    (left / (width - w), (0, 1)),
    (top / (height - h), (0, 1)),
  ):
    uniform = (values - low) / (high - low)
    assert uniform.min() > -0.01
    assert uniform.max() < 1.01
    distance = np.abs(np.sort(uniform) - np.linspace(0, 1, len(uniform))).max()
    assert distance < 1.95 / np.sqrt(len(uniform))  # Kolmogorov and Smirnov, level 0.001


def test_boxes_of_small_images_are_parts_of_them():
  for seed in range(200):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 12, 2).tolist())
    left, top, right, bottom = random_box(rng, size, (0.08, 1.0), (0.75, 1.33))
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]


def test_operations_are_drawn_with_their_probabilities(monkeypatch):
  """One sub-policy whose traces can be told apart: inverted, cut to few colours, or both."""
  pair = (('Invert', 0.3, None), ('Posterize', 0.6, 9))
  monkeypatch.setitem(POLICIES, 'cifar10', (pair,))
  inverted, coarse = 255 - np.asarray(IMAGE), np.asarray(IMAGE) & 0xF0
  kinds = {'neither': np.asarray(IMAGE), 'first': inverted, 'second': coarse}
  kinds['both'] = inverted & 0xF0
  names = {x.tobytes(): name for name, x in kinds.items()}
  augment = one('autoaugment', policy='cifar10')
  counts = Counter(names[pixels(augment, seed).tobytes()] for seed in range(2000))
  expected = {'neither': 0.28, 'first': 0.12, 'second': 0.42, 'both': 0.18}
  for kind, share in expected.items():
    assert abs(counts[kind] / 2000 - share) < 0.04, kind


def test_signs_and_sub_policies_are_drawn_evenly(monkeypatch):
  pairs = tuple((('TranslateX', 1.0, level), ('Invert', 0.0, None)) for level in (5, 9))
  monkeypatch.setitem(POLICIES, 'svhn', pairs)
  augment = one('autoaugment', policy='svhn', fill=7)
  counts, image = Counter(), np.asarray(IMAGE)
  for seed in range(1000):
    out = pixels(augment, seed)
    for shift in (7, 14):  # 150/331 of 31 pixels, and 5/9 of it
      if np.array_equal(out[:, shift:], image[:, :-shift]) and (out[:, :shift] == 7).all():
        counts[shift] += 1
      if np.array_equal(out[:, :-shift], image[:, shift:]) and (out[:, -shift:] == 7).all():
        counts[-shift] += 1
  assert counts.keys() == {7, 14, -7, -14}
  assert sum(counts.values()) == 1000
  assert min(counts.values()) > 190


@pytest.mark.parametrize(
  ('specs', 'says'),
  [
    ({'name': 'flip'}, r'feed\.train must be a list of blocks'),
    ('flip', r'feed\.train must be a list of blocks'),
    (['flip'], r'feed\.train\[0\]: the transform must be a block'),
    ([{'name': 'flip'}, {'name': 'crop'}], r"feed\.train\[1\]: there is no transform 'crop'"),
    ([{'name': 'flip', 'p': 0.5}], r"flip has no 'p'.*it takes probability"),
    ([{'name': 'flip', 'probability': 1.5}], r'probability must be at least 0 and at most 1'),
    ([{'name': 'random_resized_crop'}], r'random_resized_crop needs size'),
    ([{'name': 'random_resized_crop', 'size': 9, 'scale': (0.5, 0.1)}], r'the smaller first'),
    ([{'name': 'random_resized_crop', 'size': 9, 'scale': (0.5, 2)}], r'scale must be at most 1'),
    ([{'name': 'random_resized_crop', 'size': 9, 'ratio': (1,)}], r'ratio must be two numbers'),
    ([{'name': 'random_resized_crop', 'size': 9, 'ratio': (0, 1)}], r'ratio\[0\] must be above 0'),
    ([{'name': 'resize', 'size': (3, 4, 5)}], r'resize\.size must be one number or \(height, w'),
    ([{'name': 'resize', 'size': 9, 'interpolation': 'area'}], r"'bilinear' or 'bicubic'"),
    ([{'name': 'random_crop', 'size': 9, 'padding': -1}], r'padding must be at least 0'),
    ([{'name': 'autoaugment', 'policy': 'mnist'}], r"'imagenet' or 'cifar10' or 'svhn'"),
    ([{'name': 'autoaugment', 'fill': (1, 2)}], r'fill must be one number or \(red, green, blue'),
    ([{'name': 'autoaugment', 'fill': 256}], r'fill must be .*at most 255'),
  ],
)
def test_a_wrong_block_is_refused_by_its_place(specs, says):
  with pytest.raises(InputError, match=says) as refused:
    build(specs, 'feed.train')
  assert str(refused.value).startswith('feed.train')
  assert '\n' not in str(refused.value)

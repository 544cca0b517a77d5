"""Frames and angles: what each block has, where sequences begin, and what is refused."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from datasets import batch_sources
from l2o.errors import InputError

COUNT = 40  # frames of a video: 30 to train on, 4 to evaluate, 6 to test


def frame(level):
  """A sky of 255, and below it a road of `level`."""
  pixels = np.full((24, 40, 3), 255, np.uint8)
  pixels[12:] = level
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, 'JPEG', quality=95)
  return file.getvalue()


@pytest.fixture
def folder(tmp_path):
  """Two videos; frame k has the level 4 k and was steered at 70 + k degrees, or 100 + k."""
  (tmp_path / 'images').mkdir()
  for video, base in (('a', 70), ('b', 100)):
    for k in range(COUNT):
      name = f'{video}_{k + 5:03d}_{base + k:03d}.jpg'
      (tmp_path / 'images' / name).write_bytes(frame(4 * k))
  (tmp_path / 'README').write_text('not a frame')
  return tmp_path


def load(folder, **changes):
  spec = {'name': 'lane_keeping', 'path': str(folder), 'num_steps': 2, 'unit': 10.0} | changes
  return batch_sources.load(spec, seed=3)


def numbers(batch, base):
  """The numbers of a batch's frames, by what they were steered at."""
  return np.rint(batch['target'][..., 0] * 10 + 90 - base).astype(int)


def test_blocks_follow_each_other_in_time(folder):
  batch_source = load(folder)
  for batch, first, last in ((batch_source.evaluation, 30, 34), (batch_source.test, 34, 40)):
    wanted = np.arange(first, last).reshape(-1, 2)
    half = len(wanted)
    np.testing.assert_array_equal(numbers(batch, 70)[:half], wanted)
    np.testing.assert_array_equal(numbers(batch, 100)[half:], wanted)


def test_training_sequences_are_consecutive_and_stay_in_their_block(folder):
  batch_source = load(folder, batch_size=64)
  seen = [batch_source.sample(number) for number in range(8)]
  found = np.concatenate([numbers(batch, 70) for batch in seen])
  found = np.where(found >= 30, found - 30, found)  # those of the other video
  np.testing.assert_array_equal(found[:, 1], found[:, 0] + 1)
  assert set(found[:, 0]) == set(range(29))
  np.testing.assert_array_equal(
    batch_source.sample(3)['target'], load(folder, batch_size=64).sample(3)['target']
  )


def test_a_frame_is_the_road_alone_beside_its_angle(folder):
  batch = load(folder).sample(0)
  assert batch['frames'].shape == (4, 2, 66, 200, 3)
  number = numbers(batch, 70)
  number = np.where(number >= 30, number - 30, number)
  levels = (batch['frames'].mean(axis=(2, 3, 4)) + 1) * 127.5
  np.testing.assert_allclose(levels, 4 * number, atol=6.0)  # JPEG smears the sky a little


def test_pixels_are_the_same_frames_before_they_are_scaled(folder):
  scaled, pixels = load(folder).sample(0), load(folder, pixels=True).sample(0)
  assert pixels['frames'].dtype == np.uint8
  np.testing.assert_allclose(pixels['frames'] / 127.5 - 1, scaled['frames'], atol=1e-6)
  np.testing.assert_array_equal(pixels['target'], scaled['target'])


def test_a_zip_file_is_read_as_its_folder_and_the_path_may_come_from_the_environment(
  folder, tmp_path, monkeypatch
):
  with zipfile.ZipFile(tmp_path / 'frames.zip', 'w') as file:
    for path in (folder / 'images').iterdir():
      file.write(path, f'deep/{path.name}')
  monkeypatch.setenv('L2O_LANE_KEEPING', str(tmp_path / 'frames.zip'))
  packed = batch_sources.load({'name': 'lane_keeping', 'num_steps': 2, 'unit': 10.0}, seed=3)
  np.testing.assert_array_equal(packed.test['frames'], load(folder / 'images').test['frames'])


def test_each_seed_has_sequences_of_its_own(folder):
  spec = {'name': 'lane_keeping', 'path': str(folder), 'num_steps': 2}
  one, other = (batch_sources.load(spec, seed).sample(1)['target'] for seed in (3, 4))
  assert np.any(one != other)


def test_a_video_with_a_bad_frame_is_left_out_and_counted(folder):
  (folder / 'images' / 'a_007_072.jpg').unlink()
  left = load(folder, on_bad_record='skip')
  assert left.skipped == 1
  np.testing.assert_array_equal(numbers(left.test, 100).ravel(), np.arange(34, 40))
  content = (folder / 'images' / 'b_009_104.jpg').read_bytes()
  (folder / 'images' / 'b_009_104.jpg').write_bytes(content[:-300])
  with pytest.raises(
    InputError, match='would leave no records; the first bad one: a lacks frame 7'
  ):
    load(folder, on_bad_record='skip')


def huge(folder):
  Image.new('RGB', (5000, 8)).save(folder / 'images' / 'b_009_104.jpg')


def rename(old, new):
  return lambda folder: (folder / 'images' / old).rename(folder / 'images' / new)


@pytest.mark.parametrize(
  ('damage', 'changes', 'says'),
  [
    (rename('a_007_072.jpg', 'a_007.jpg'), {}, r'a_007\.jpg is not named VIDEO_NUMBER_ANGLE'),
    (rename('a_007_072.jpg', 'a_007_181.jpg'), {}, 'an angle of 0 to 180 degrees'),
    (rename('a_007_072.jpg', 'c_007_072.jpg'), {}, 'a lacks frame 7, and its frames must be'),
    (rename('a_007_072.jpg', 'a_06_072.jpg'), {}, r'a_06_072.* has the same number as .*a_006_071'),
    (lambda f: (f / 'images' / 'b_009_104.jpg').write_bytes(b'x'), {}, r'b_009_104\.jpg is trunca'),
    (huge, {}, r'b_009_104\.jpg is not a JPEG of at most 4096 pixels on a side'),
    (lambda f: None, {'num_steps': 5}, 'at most 4, the number of frames in the shortest block'),
    (lambda f: None, {'path': ''}, 'set batch_source.path or the variable L2O_LANE_KEEPING'),
    (lambda f: None, {'unit': 0.0}, 'unit must be .*above 0'),
    (lambda f: [p.unlink() for p in (f / 'images').iterdir()], {}, 'has no frames named like'),
  ],
)  # fmt: skip
def test_what_is_no_video_is_refused(folder, monkeypatch, damage, changes, says):
  monkeypatch.delenv('L2O_LANE_KEEPING', raising=False)
  damage(folder)
  with pytest.raises(InputError, match=says):
    load(folder, **changes)

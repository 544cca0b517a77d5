"""DeepPicar's videos: frames and angles in order, and what is no video with its angles."""

import io
import math
import sys
import tempfile
import zipfile

import numpy as np
import pytest

from datasets import batch_sources
from l2o.errors import InputError
from tests.datasets.test_lane_keeping import COUNT, frame

av = pytest.importorskip('av', reason='the extra video is not installed')


def video(levels, codec='mjpeg', size=(24, 40)):
  """The content of an .avi file: a sky of 255 above a road of each level."""
  file = io.BytesIO()
  with av.open(file, 'w', format='avi') as container:
    stream = container.add_stream(codec, rate=20)
    stream.height, stream.width = size
    stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
    for level in levels:
      pixels = np.full((*size, 3), 255, np.uint8)
      pixels[size[0] // 2 :] = level
      container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
    container.mux(stream.encode())
  return file.getvalue()


def key(angles):
  rows = [f'{1000 + 50 * i},{i + 1},{angle}' for i, angle in enumerate(angles)]
  return '\n'.join(['ts_micro,frame,wheel', *rows, ''])


@pytest.fixture
def folder(tmp_path):
  """Videos 2 and 10; frame k has the level 4 k and was steered at k - 20 degrees, or k + 10."""
  root = tmp_path / 'epochs'
  root.mkdir()
  for number, base in ((2, -20), (10, 10)):
    (root / f'out-video-{number}.avi').write_bytes(video(range(0, 4 * COUNT, 4)))
    angles = [math.radians(base + k) for k in range(COUNT)]
    (root / f'out-key-{number}.csv').write_text(key(angles))
  (root / 'out-key-btn.csv').write_text('ts_micro,frame,btn,speed\n')
  (root / 'out-video-2-scaled.avi').write_text('not one of them')
  return root


def load(folder, **changes):
  spec = {'name': 'lane_keeping', 'path': str(folder), 'num_steps': 2, 'unit': 10.0} | changes
  return batch_sources.load(spec, seed=3)


def test_frames_stand_beside_their_angles_in_degrees(folder):
  """Video 2 comes before 10, as it does not in the alphabet."""
  source = load(folder)
  degrees = source.test['target'][..., 0] * 10
  wanted = np.arange(34, 40).reshape(3, 2)
  np.testing.assert_allclose(degrees, np.concatenate([wanted - 20, wanted + 10]), atol=1e-4)
  levels = (source.test['frames'].mean(axis=(2, 3, 4)) + 1) * 127.5
  np.testing.assert_allclose(levels, 4 * np.tile(wanted, (2, 1)), atol=6.0)  # JPEG smears the sky
  assert source.skipped == 0


def test_a_csv_in_degrees_is_read_as_the_same_angles(folder):
  radians = load(folder).test['target']
  for path, base in ((folder / 'out-key-2.csv', -20), (folder / 'out-key-10.csv', 10)):
    path.write_text(key(range(base, base + COUNT)))
  with pytest.raises(InputError, match=r"row 1 of out-key-2\.csv has wheel = -20, .*= 'degrees'"):
    load(folder)
  np.testing.assert_allclose(load(folder, wheel='degrees').test['target'], radians, atol=1e-5)


def test_a_video_of_the_recorders_own_codec_is_read(folder):
  """OpenCV's XVID is MPEG-4, whose frames refer to others."""
  (folder / 'out-video-2.avi').write_bytes(video(range(0, 4 * COUNT, 4), 'mpeg4', (240, 320)))
  levels = (load(folder).test['frames'][0].mean(axis=(1, 2, 3)) + 1) * 127.5
  np.testing.assert_allclose(levels, [4 * 34, 4 * 35], atol=6.0)


def test_a_zip_file_leaves_nothing_behind(folder, tmp_path, monkeypatch):
  packed = tmp_path / 'epochs.zip'
  with zipfile.ZipFile(packed, 'w') as file:
    for path in folder.iterdir():
      file.write(path, f'deep/{path.name}')
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
  before = sorted(tmp_path.rglob('*'))
  np.testing.assert_array_equal(load(packed).test['frames'], load(folder).test['frames'])
  assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize(('content', 'name'), [(bytes(9 << 20), 'a.avi'), (None, 'a.jpg')])
def test_a_video_in_a_zip_file_may_be_larger_than_a_picture_but_no_bomb(
  folder, tmp_path, content, name
):
  packed = tmp_path / 'epochs.zip'
  with zipfile.ZipFile(packed, 'w') as file:
    for path in folder.iterdir():
      file.write(path, path.name)
    large = np.random.default_rng(0).bytes(9 << 20)
    file.writestr('other.avi', large)
  assert len(load(packed).test['target']) == 6
  with zipfile.ZipFile(packed, 'a', zipfile.ZIP_DEFLATED) as file:
    file.writestr(name, content or large)
  with pytest.raises(InputError, match=f'not to be trusted: its member .{name}. unpacks to'):
    load(packed)


def test_videos_and_frames_may_lie_side_by_side(folder):
  for k in range(COUNT):
    (folder / f'a_{k:03d}_{70 + k:03d}.jpg').write_bytes(frame(4 * k))
  targets = load(folder).test['target'].reshape(3, 6) * 10
  wanted = np.arange(34, 40) + np.array([[-20], [-20], [10]])
  np.testing.assert_allclose(targets, wanted, atol=1e-4)


def avi(content):
  return lambda folder: (folder / 'out-video-2.avi').write_bytes(content)


def csv(content):
  return lambda folder: (folder / 'out-key-2.csv').write_bytes(content)


LEVELS = range(COUNT)
BAD = [
  (avi(video(LEVELS[:-1])), 'AVI has 39 frames but CSV 40 angles'),
  (avi(video([*LEVELS, 1, 1])), 'AVI has 42 frames but CSV 40 angles'),
  (avi(video(LEVELS)[:-9000]), r'AVI (cannot be decoded as a video|has \d+ frames but)'),
  (avi(b'RIFF'), r'AVI cannot be decoded as a video \(Invalid data found'),
  (avi(video([9], size=(16, 4112))), 'AVI has frames of 4112 x 16, more than .* pixels on a side'),
  (csv(b'frame,angle\n1,0.1\n'), "CSV has no column 'wheel'"),
  (csv(b''), "CSV has no column 'wheel'"),
  (csv(b'wheel\n0.1\nleft\n'), 'row 2 of CSV has wheel = left, which is not an angle'),
  (csv(b'frame,wheel\n1,0.5\n2\n'), 'row 2 of CSV has wheel = None'),
  (csv(b'wheel\nnan\n'), 'row 1 of CSV has wheel = nan'),
  (csv(b'wheel\n\xff\n'), 'CSV cannot be read as text'),
  (lambda folder: (folder / 'out-key-2.csv').unlink(), 'CSV is missing beside AVI'),
  (lambda folder: (folder / 'out-video-2.avi').unlink(), 'AVI is missing beside CSV'),
]


@pytest.mark.parametrize(('damage', 'says'), BAD)
def test_a_bad_video_is_named_or_left_out_and_counted(folder, damage, says):
  damage(folder)
  says = says.replace('AVI', r'out-video-2\.avi').replace('CSV', r'out-key-2\.csv')
  with pytest.raises(InputError, match=rf'epochs: {says}.*, or set on_bad_record=.skip.') as error:
    load(folder)
  assert '\n' not in str(error.value)
  left = load(folder, on_bad_record='skip')
  assert left.skipped == 1
  np.testing.assert_allclose(left.test['target'].ravel() * 10, np.arange(44, 50), atol=1e-4)


def test_a_folder_without_a_good_video_is_refused(folder):
  for path in folder.glob('out-video*'):
    path.write_bytes(b'')
  with pytest.raises(
    InputError, match=r'would leave no records; the first bad one: out-video-2\.a'
  ):
    load(folder, on_bad_record='skip')


def test_without_the_decoder_one_sentence_says_what_to_install(folder, monkeypatch):
  monkeypatch.setitem(sys.modules, 'av', None)
  with pytest.raises(InputError, match=r"batch source needs av: pip install 'l2o\[video\]'"):
    load(folder, on_bad_record='skip')

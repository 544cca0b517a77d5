"""Tiny-ImageNet from its zip file or its folder, whole and damaged."""

import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

import datasets
from l2o.errors import InputError

WNIDS = ('n03', 'n01', 'n02')  # the file's order, not the alphabet's


def jpeg(level, mode='RGB'):
  """An evenly grey picture."""
  file = io.BytesIO()
  Image.new(mode, (64, 64), level if mode == 'L' else (level, level, level)).save(file, 'JPEG')
  return file.getvalue()


@pytest.fixture
def folder(tmp_path):
  """Three classes, four train and two validation images each; class c has the level 60 c."""
  root = tmp_path / 'tiny-imagenet-200'
  (root / 'val' / 'images').mkdir(parents=True)
  (root / 'wnids.txt').write_text('\n'.join(WNIDS) + '\n')
  (root / 'words.txt').write_text('n01\tgoldfish\nn02\tfrog, toad\nn03\tnewt\nn99\tother\n')
  annotations = []
  for label, wnid in enumerate(WNIDS):
    images = root / 'train' / wnid / 'images'
    images.mkdir(parents=True)
    for i in range(4):
      (images / f'{wnid}_{i}.JPEG').write_bytes(jpeg(60 * label, 'L' if i == 3 else 'RGB'))
    for i in range(2):
      name = f'val_{10 * label + i}.JPEG'
      (root / 'val' / 'images' / name).write_bytes(jpeg(60 * label))
      annotations.append(f'{name}\t{wnid}\t0\t0\t63\t63\n')
  (root / 'val' / 'val_annotations.txt').write_text(''.join(annotations))
  return root


@pytest.fixture
def archive(folder):
  return shutil.make_archive(str(folder), 'zip', folder.parent, folder.name)


def load(path, split='train', **arguments):
  return datasets.load({'name': 'tiny_imagenet', 'path': str(path), **arguments}, split)


@pytest.mark.parametrize('split', datasets.SPLITS)
def test_folder_and_zip_give_the_same_images_under_their_labels(folder, archive, split):
  sources = [load(where, split) for where in (folder, folder.parent, archive)]
  for source in sources:
    assert len(source) == (12 if split == 'train' else 6)
    assert source.class_names == ('newt', 'goldfish', 'frog, toad')
    assert source.image_shape == (64, 64, 3)
    for example in (source[i] for i in range(len(source))):
      assert abs(int(example.image.mean()) - 60 * example.label) <= 1
  images = [source.arrays()['image'] for source in sources]
  np.testing.assert_array_equal(images[0], images[2])


def test_images_are_resized_and_the_path_may_come_from_the_environment(archive, monkeypatch):
  monkeypatch.setenv('L2O_TINY_IMAGENET', str(archive))
  assert datasets.load({'name': 'tiny_imagenet', 'size': 32}, 'train').image_shape == (32, 32, 3)
  monkeypatch.delenv('L2O_TINY_IMAGENET')
  with pytest.raises(InputError, match='the variable L2O_TINY_IMAGENET'):
    datasets.load({'name': 'tiny_imagenet'}, 'train')


def damage(folder, kind):
  """Damages one file; returns the split and the name that an error must say."""
  image = folder / 'train' / 'n01' / 'images' / 'n01_2.JPEG'
  if kind == 'truncated':
    image.write_bytes(image.read_bytes()[:300])
  elif kind == 'not an image':
    image.write_bytes(b'hello')
  elif kind == 'a PNG':
    Image.new('RGB', (64, 64)).save(image, 'PNG')
  elif kind == 'in the wrong folder':
    image.rename(folder / 'train' / 'n02' / 'images' / 'n01_2.JPEG')
    return 'train', 'train/n02/images/n01_2.JPEG'
  elif kind == 'not annotated':
    (folder / 'val' / 'images' / 'val_99.JPEG').write_bytes(jpeg(0))
    return 'validation', 'val/images/val_99.JPEG'
  elif kind == 'annotated as unknown':
    path = folder / 'val' / 'val_annotations.txt'
    path.write_text(path.read_text().replace('val_10.JPEG\tn01', 'val_10.JPEG\tn77'))
    return 'validation', 'val/images/val_10.JPEG'
  elif kind == 'missing':
    (folder / 'val' / 'images' / 'val_10.JPEG').unlink()
    return 'validation', 'val/images/val_10.JPEG'
  return 'train', 'train/n01/images/n01_2.JPEG'


KINDS = (
  'truncated', 'not an image', 'a PNG', 'in the wrong folder', 'not annotated',
  'annotated as unknown', 'missing',
)  # fmt: skip


@pytest.mark.parametrize('packed', [False, True], ids=['folder', 'zip'])
@pytest.mark.parametrize('kind', KINDS)
def test_a_bad_file_is_named_or_left_out_and_counted(folder, kind, packed, caplog):
  split, name = damage(folder, kind)
  where = shutil.make_archive(str(folder), 'zip', folder.parent, folder.name) if packed else folder
  with pytest.raises(InputError, match=rf'{name} is .*, or set on_bad_record=.skip. to leave such'):
    load(where, split)
  total = {'train': 12, 'validation': 6}[split] + (kind == 'not annotated')
  left = load(where, split, on_bad_record='skip')
  assert (len(left), left.skipped) == (total - 1, 1)
  assert f'1 of {total} records left out; first: {name}' in caplog.text


def test_a_class_that_would_lose_all_its_images_is_refused(folder):
  images = sorted((folder / 'train' / 'n01' / 'images').iterdir())
  for image in images[:-1]:
    image.write_bytes(image.read_bytes()[:200])
  assert load(folder, on_bad_record='skip').skipped == 3
  images[-1].write_bytes(b'')
  with pytest.raises(InputError, match=r"no records of the class 'goldfish'.*n01_0\.JPEG is tru"):
    load(folder, on_bad_record='skip')


@pytest.mark.parametrize(
  ('member', 'content'),
  [('../evil.txt', b'x'), ('/etc/evil', b'x'), ('c:/evil', b'x'), ('train/bomb', bytes(20 << 20))],
)
def test_a_zip_file_that_is_not_to_be_trusted_is_refused(archive, member, content):
  with zipfile.ZipFile(archive, 'a', zipfile.ZIP_DEFLATED) as file:
    file.writestr(member, content)
  with pytest.raises(InputError, match='not to be trusted: its member'):
    load(archive)


def test_another_layout_and_what_is_no_zip_are_refused(folder, tmp_path):
  (folder / 'wnids.txt').unlink()
  with pytest.raises(InputError, match=r'has no wnids\.txt'):
    load(folder)
  (tmp_path / 'text.zip').write_text('hello')
  with pytest.raises(InputError, match='neither a folder nor a readable zip file'):
    load(tmp_path / 'text.zip')

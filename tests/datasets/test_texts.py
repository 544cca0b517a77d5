"""Sources of texts: chunks of classes that do not overlap, and their splits."""

import numpy as np
import pytest

import datasets
from configs import common, l3rs_language
from datasets import texts
from l2o.errors import InputError
from trainers.jobs import pipeline


def content(source, name):
  rows = source.class_index[source.class_names.index(name)]
  return b''.join(bytes(source[int(row)].image.ravel()) for row in rows)


@pytest.fixture
def folder(tmp_path):
  for name, files in {
    'b': {'2.txt': b'klmnopqrst', '1.txt': b'abcdefghij', 'deep/3.txt': b'uvwxy'},
    'a': {'x': bytes(range(100, 160))},
    'short': {'x': b'abc'},
  }.items():
    for file, text in files.items():
      (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
      (tmp_path / name / file).write_bytes(text)
  (tmp_path / 'loose.txt').write_bytes(b'not in a class')
  return tmp_path


def load(folder, split, **more):
  return datasets.load({'name': 'text', 'path': str(folder), 'length': 3, **more}, split)


def test_classes_are_folders_and_chunks_their_files_one_after_another(folder):
  train, validation = load(folder, 'train'), load(folder, 'validation')
  assert train.class_names == validation.class_names == ('a', 'b')
  assert train.image_shape == (4, 1, 1)
  # 25 bytes are six chunks, of which a fifth, one, is held out.
  assert content(train, 'b') == b'abcdefghijklmnopqrst'
  assert content(validation, 'b') == b'uvwx'
  assert content(train, 'a') + content(validation, 'a') == bytes(range(100, 160))
  assert len(content(validation, 'a')) == 3 * 4


def test_hidden_files_are_no_text(folder):
  before = content(load(folder, 'train'), 'b')
  (folder / 'b' / '.git').mkdir()
  for file in ('.git/0', '.hidden'):
    (folder / 'b' / file).write_bytes(b'0123456789abcdef')
  assert content(load(folder, 'train'), 'b') == before


def test_a_class_may_be_limited_and_must_be_long_enough(folder):
  assert content(load(folder, 'train', most=3), 'b') == b'abcdefgh'
  assert load(folder, 'train', fewest=7).class_names == ('a',)


def test_the_standard_library_has_many_packages_that_no_split_shares_a_chunk_of():
  train, validation = (texts.python_library(split, length=200) for split in datasets.SPLITS)
  assert train.class_names == validation.class_names
  assert len(train.class_names) > 50
  assert {'json', 'email', 'argparse', 'typing'} <= set(train.class_names)
  sizes = [len(t) + len(v) for t, v in zip(train.class_index, validation.class_index, strict=True)]
  assert min(sizes) >= 40
  assert max(sizes) <= 400
  assert content(train, 'argparse').startswith(b'# Author: Steven J. Bethard')
  assert content(validation, 'argparse')[:50] not in content(train, 'argparse')
  text = content(train, 'argparse')
  assert b'def ' in text
  assert np.mean([byte < 128 for byte in text]) > 0.99


def test_files_alone_are_classes_and_so_is_a_single_one(folder):
  (folder / 'a' / 'y').write_bytes(b'0123456789abcdef')
  (folder / 'a' / '.git').mkdir()
  (folder / 'a' / '.git' / 'z').write_bytes(b'0123456789abcdef')
  for path, names in ((folder / 'a', ('x', 'y')), (folder / 'a' / 'y', ('y',))):
    source = load(path, 'train')
    assert source.class_names == names
    assert content(source, 'y') == b'0123456789ab'


@pytest.mark.parametrize(
  ('more', 'says'),
  [
    ({'path': 'nowhere'}, "text.path = 'nowhere' does not exist"),
    ({'length': 60}, 'has no class with 2 chunks of 61 tokens'),
    ({'length': 0}, 'text.length|length must be at least 1'),
    ({'validation': 1.0}, 'validation must be'),
  ],
)
def test_what_gives_no_text_is_refused(folder, more, says):
  with pytest.raises(InputError, match=says):
    load(folder, 'train', **more)


@pytest.fixture
def tokenizer(tmp_path):
  """The path of a tokenizer of words with 300 made-up ones, so that a token needs two bytes."""
  library = pytest.importorskip('tokenizers')
  words = ['?', 'a', 'b', *(f'w{i}' for i in range(297))]
  made = library.Tokenizer(
    library.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token='?')
  )
  made.pre_tokenizer = library.pre_tokenizers.Whitespace()
  made.save(str(tmp_path / 'tokenizer.json'))
  return str(tmp_path / 'tokenizer.json')


def test_a_tokenizer_gives_the_tokens(tmp_path, tokenizer):
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine' / 'x').write_text('a w0 b w296 é a b a')
  train, validation = (
    load(tmp_path, split, length=1, tokenizer=tokenizer) for split in datasets.SPLITS
  )
  assert train.num_tokens == 300
  tokens = [source.arrays()['image'] for source in (train, validation)]
  assert tokens[0].shape == (3, 2, 1, 2)
  found = [(image[:, :, 0] @ [1, 256]).tolist() for image in tokens]
  assert found == [[[1, 3], [2, 299], [0, 1]], [[2, 1]]]


def test_the_decoder_must_know_the_tokens(tmp_path, tokenizer):
  for name in ('one', 'two', 'three'):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'x').write_text(40 * 'a w250 ')
  c = l3rs_language.get_config('smoke')
  source = {'name': 'text', 'path': str(tmp_path), 'length': 4, 'tokenizer': tokenizer}
  config = common.freeze(c) | {
    'sources': {'python': source},
    'class_split': {'python': {'pretrain': 1, 'meta_train': 1, 'meta_test': 1}},
  }
  with pytest.raises(InputError, match=r'has 300 tokens, but model.vocab_size is 256: set it to 3'):
    pipeline.build(config)


@pytest.mark.parametrize('content', [None, b'{"version": 7'])
def test_what_is_no_tokenizer_is_refused(folder, content):
  path = folder / 'tokens.json'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(InputError, match=r'tokens\.json.* is not a tokenizer\.json of Hug'):
    load(folder, 'train', tokenizer=str(path))


def test_a_python_without_sources_is_told_to_take_a_folder(monkeypatch, tmp_path):
  monkeypatch.setattr(texts.sysconfig, 'get_paths', lambda: {'stdlib': str(tmp_path)})
  with pytest.raises(InputError, match=r"has no sources of its standard library in .*'text'"):
    texts.python_library('train')


@pytest.mark.parametrize('more', [{'fewest': 500}, {'length': 65_536}])
def test_a_library_whose_packages_are_too_short_says_what_to_lower(more):
  with pytest.raises(InputError, match=r'no class with .* chunks of .*: lower python_library\.le'):
    texts.python_library('train', **more)


def test_an_unknown_split_is_refused(folder):
  with pytest.raises(InputError, match='there is no split'):
    load(folder, 'tests')

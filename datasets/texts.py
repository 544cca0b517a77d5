"""Text sources: classes of texts, cut into chunks of tokens that a language model reads.

`python_library`: the sources of this Python's standard library, which every machine has; a class is
a package or module. `text`: the user's own files; a class is a sub-folder. Tokens are bytes, or
come from a Hugging Face tokenizer file.
"""

import pathlib
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import numpy as np

from datasets.source import ArraySource
from l2o.arguments import Count, Range, Share, Whole, checked
from l2o.errors import InputError, first_line
from l2o.optional import require
from l2o.registry import choose

Length = Annotated[int, Range(at_least=1, at_most=65_536)]
Tokenize = Callable[[bytes], np.ndarray]  # text -> [N] tokens
NO_TEXT = ('test', 'idlelib', 'lib2to3', 'pydoc_data', 'this', 'antigravity')  # tests, and data


class Texts(ArraySource):
  """Chunks of tokens in memory, as images [T + 1, 1, B] uint8 of the B bytes of each token.

  Args:
    chunks: [N, T + 1] int.
    labels: [N] int in [0, number of class names).
    class_names: one for each class.
    num_tokens: V; tokens lie in 0..V - 1. B is the number of bytes that the largest of them needs.

  Example:
    >>> source = Texts(np.array([[1, 258, 511]]), np.array([0]), ['mine'], num_tokens=512)
    >>> source.image_shape, source[0].image[1].tolist()
    ((3, 1, 2), [[2, 1]])
  """

  def __init__(
    self, chunks: np.ndarray, labels: np.ndarray, class_names: Sequence[str], num_tokens: int
  ):
    num_bytes = max((num_tokens - 1).bit_length() + 7, 8) // 8
    each = chunks.astype('<u4')[..., None].view(np.uint8)
    super().__init__(each[:, :, None, :num_bytes].copy(), labels, class_names)
    self.num_tokens = num_tokens


@checked
def python_library(
  split: str,
  length: Length = 128,
  fewest: Count = 40,
  most: Whole = 400,
  validation: Share = 0.2,
  tokenizer: str = '',
) -> Texts:
  """Chunks of Python's own sources, a class for each package or module that is long enough.

  The sources differ between versions of Python.

  Args:
    split: 'train' or 'validation'.
    length: T; a chunk has T + 1 tokens, and chunks do not overlap.
    fewest: chunks that a class needs, both splits together; at least 2.
    most: largest number of chunks taken from a class, from its beginning; 0 for all.
    validation: the share of a class's chunks, its last ones, that are held out.
    tokenizer: a Hugging Face `tokenizer.json` (extra `tokenizers`); '' for bytes.

  Raises:
    InputError: there is no such split, this Python has no sources, or there is no such tokenizer.

  Example:
    >>> source = python_library('train', length=64)
    >>> source.image_shape, 'asyncio' in source.class_names, 'test' in source.class_names
    ((65, 1, 1), True, False)
    >>> first = source[int(source.class_index[source.class_names.index('asyncio')][0])]
    >>> bytes(first.image[3:22].ravel())
    b'The asyncio package'
  """
  folder = pathlib.Path(sysconfig.get_paths()['stdlib'])
  names = sorted(sys.stdlib_module_names - set(NO_TEXT))
  classes = {}
  for name in names:
    files = sorted((folder / name).rglob('*.py')) or [folder / f'{name}.py']
    kept = [f for f in files if f.is_file() and 'test' not in f.relative_to(folder).parts[1:-1]]
    classes[name] = b''.join(_read(f) for f in kept)
  if not any(classes.values()):
    raise InputError(
      f"this Python has no sources of its standard library in {folder}: take the source 'text'"
    )
  found = _source(classes, split, length, fewest, most, validation, tokenizer)
  if found is None:
    raise InputError(
      f'python_library has no class with {_wanted(fewest, most, length)}: lower '
      f'python_library.length or fewest{", or raise most" * bool(most)}'
    )
  return found


@checked
def text(
  split: str,
  path: str,
  length: Length = 128,
  fewest: Count = 2,
  most: Whole = 0,
  validation: Share = 0.2,
  tokenizer: str = '',
) -> Texts:
  """Chunks of the user's files, a class for each sub-folder, its files in the order of their paths.

  In a folder without sub-folders each file is a class, and a single file is one class. Hidden
  files and folders are left out.

  Args:
    split: 'train' or 'validation'.
    path: a folder of sub-folders of text files, a folder of text files, or a text file.
    length: T; a chunk has T + 1 tokens, and chunks do not overlap.
    fewest: chunks that a class needs, both splits together, at least 2; shorter classes are left
      out.
    most: largest number of chunks taken from a class, from its beginning; 0 for all.
    validation: the share of a class's chunks, its last ones, that are held out.
    tokenizer: a Hugging Face `tokenizer.json` (extra `tokenizers`); '' for bytes.

  Raises:
    InputError: there is no such split, path or tokenizer, or no class has enough text.
  """
  where = pathlib.Path(path).expanduser()
  if not where.exists():
    raise InputError(f'text.path = {path!r} does not exist: name a folder or a file')
  inner = [where]
  if where.is_dir():
    inner = sorted(one for one in where.iterdir() if not one.name.startswith('.'))
  classes = {
    one.name: b''.join(_read(f) for f in _files(one)) for one in inner if one.is_dir()
  } or {one.name: _read(one) for one in inner}
  found = _source(classes, split, length, fewest, most, validation, tokenizer)
  if found is None:
    raise InputError(
      f'text.path = {path!r} has no class with {_wanted(fewest, most, length)}: '
      f'lower text.length or fewest{", or raise most" * bool(most)}'
    )
  return found


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  """All files below a folder, except hidden ones and those in hidden folders, in order."""
  found = (f for f in sorted(folder.rglob('*')) if f.is_file())
  return [f for f in found if not any(p.startswith('.') for p in f.relative_to(folder).parts)]


def _read(file: pathlib.Path) -> bytes:
  try:
    return file.read_bytes()
  except OSError as error:
    raise InputError(f'{file} cannot be read ({error.strerror})') from error


def _tokenize(path: str) -> tuple[Tokenize, int]:
  """The function that turns a text into tokens, and V."""
  if not path:
    return lambda content: np.frombuffer(content, np.uint8), 256
  library = require('tokenizers', 'tokenizers', 'text source')
  try:
    held = library.Tokenizer.from_file(str(pathlib.Path(path).expanduser()))
  except Exception as error:  # the library's errors have no class of their own
    raise InputError(
      f'tokenizer = {path!r} is not a tokenizer.json of Hugging Face ({first_line(error)})'
    ) from error

  def tokenize(content: bytes) -> np.ndarray:
    encoded = held.encode(content.decode(errors='replace'), add_special_tokens=False)
    return np.array(encoded.ids, np.uint32)

  return tokenize, 1 + max(held.get_vocab(with_added_tokens=True).values(), default=0)


def _wanted(fewest: int, most: int, length: int) -> str:
  """What a class must have: a chunk of each split at least."""
  among = f' among its first {most}' if most else ''
  return f'{max(fewest, 2)} chunks of {length + 1} tokens{among}'


def _source(
  classes: Mapping[str, bytes],
  split: str,
  length: int,
  fewest: int,
  most: int,
  validation: float,
  tokenizer: str,
) -> Texts | None:
  """The chunks of one split; None if no class has enough of them."""
  choose(split, ('train', 'validation'), 'split')
  tokenize, num_tokens = _tokenize(tokenizer)
  parts: list[np.ndarray] = []
  names: list[str] = []
  for name, content in classes.items():
    chunks = _chunks(tokenize(content), length)[: most or None]
    held_out = max(round(validation * len(chunks)), 1)
    if len(chunks) < max(fewest, 2) or held_out == len(chunks):
      continue
    names.append(name)
    parts.append(chunks[-held_out:] if split == 'validation' else chunks[:-held_out])
  if not names:
    return None
  return Texts(np.concatenate(parts), _labels(parts), names, num_tokens)


def _chunks(tokens: np.ndarray, length: int) -> np.ndarray:
  """Chunks [N, length + 1]; a shorter remainder is left out."""
  size = length + 1
  count = len(tokens) // size
  return tokens[: count * size].reshape(count, size)


def _labels(parts: Sequence[np.ndarray]) -> np.ndarray:
  return np.repeat(np.arange(len(parts)), [len(part) for part in parts])

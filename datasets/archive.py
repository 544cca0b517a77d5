"""The user's own files, in a folder or a zip file; nothing is unpacked to disk."""

import io
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets.records import BadRecordError
from l2o.errors import InputError, first_line

MAX_BYTES = 8 << 20  # per file: photographs have a few hundred kB
MAX_VIDEO_BYTES = 1 << 30
MAX_RATIO = 200  # unpacked over packed size of a zip member
UNREADABLE = (
  OSError,
  EOFError,
  KeyError,
  SyntaxError,
  ValueError,
  struct.error,
  RuntimeError,  # an encrypted member, or an unsupported compression
  zlib.error,
  zipfile.BadZipFile,
  UnidentifiedImageError,
  Image.DecompressionBombError,
)


class Files(NamedTuple):
  """The files in a folder or a zip file."""

  names: Sequence[str]  # sorted, with '/' between folders
  read: Callable[[str], bytes]


def open_files(where: pathlib.Path) -> Files:
  """Lists a folder or a zip file.

  Raises:
    InputError: it is neither, or a member of the zip file has a path outside the folder or unpacks
      to an excessive size.
  """
  if os.path.isdir(where):
    names = sorted(p.relative_to(where).as_posix() for p in where.rglob('*') if p.is_file())
    return Files(names, lambda name: (where / name).read_bytes())
  try:
    archive = zipfile.ZipFile(where)
  except UNREADABLE as error:
    reason = first_line(error)
    raise InputError(f'{where} is neither a folder nor a readable zip file ({reason})') from error
  for member in archive.infolist():
    _refuse_unsafe(member, where)
  return Files(sorted(name for name in archive.namelist() if not name.endswith('/')), archive.read)


def below(files: Files, marker: str) -> Files:
  """The files below the topmost folder that holds a file `marker`; all of them if none does.

  Example:
    >>> files = Files(['a/b/x', 'a/marker', 'y'], lambda name: name.encode())
    >>> part = below(files, 'marker')
    >>> part.names, part.read('b/x')
    (['b/x', 'marker'], b'a/b/x')
  """
  tops = [name.removesuffix(marker) for name in files.names if f'/{name}'.endswith(f'/{marker}')]
  top = min(tops, key=lambda folder: folder.count('/'), default='')
  names = [name.removeprefix(top) for name in files.names if name.startswith(top)]
  return Files(names, lambda name: files.read(top + name))


def read_text(files: Files, name: str, where: pathlib.Path) -> str:
  """Reads a text file; raises InputError if it cannot be read or is not UTF-8."""
  try:
    return files.read(name).decode()
  except UNREADABLE as error:
    raise InputError(f'{where}: {name} cannot be read as text ({first_line(error)})') from error


def read_jpeg(files: Files, name: str, max_side: int) -> np.ndarray:
  """Reads an image as [H, W, 3] uint8, greyscale as colour.

  Args:
    files: the files it is in.
    name: its name among them.
    max_side: pixels; a larger one is not decoded.

  Raises:
    BadRecordError: it is truncated, too large, or not a JPEG.
  """
  try:
    with Image.open(io.BytesIO(files.read(name)), formats=['JPEG']) as image:
      if image.format != 'JPEG' or max(image.size) > max_side:
        raise BadRecordError(f'{name} is not a JPEG of at most {max_side} pixels on a side')
      return np.asarray(image.convert('RGB'))
  except UNREADABLE as error:
    other = isinstance(error, UnidentifiedImageError)  # its message names the stream by address
    reason = 'it does not begin like one' if other else first_line(error)
    raise BadRecordError(f'{name} is truncated or not a JPEG ({reason})') from error


def _refuse_unsafe(member: zipfile.ZipInfo, where: pathlib.Path) -> None:
  path = pathlib.PurePosixPath(member.filename.replace('\\', '/'))
  if path.is_absolute() or '..' in path.parts or ':' in member.filename:
    raise InputError(
      f'{where} is not to be trusted: its member {member.filename!r} leaves the folder'
    )
  most = MAX_VIDEO_BYTES if path.suffix.lower() == '.avi' else MAX_BYTES
  if member.file_size > min(most, MAX_RATIO * max(member.compress_size, 1)):
    raise InputError(
      f'{where} is not to be trusted: its member {member.filename!r} unpacks to '
      f'{member.file_size} bytes from {member.compress_size}'
    )

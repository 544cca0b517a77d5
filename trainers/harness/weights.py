"""The weight files that a config names, and whether they are still the same."""

import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from l2o.errors import InputError, first_line
from l2o.models.pretrained import PICKLES
from l2o.registry import call
from trainers.checks import blocks
from trainers.harness.folder import WEIGHTS, Folder

SUFFIXES = ('.safetensors', *PICKLES)  # pickles are refused when they are read
SHOWN = 12  # digits of a digest in a message


class About(NamedTuple):
  """What the workdir and an optimizer's card record about a weight file."""

  file: str  # its name, without its folder
  sha256: str
  preprocessing: Mapping[str, Any]  # of the images, as the task applies it


Abouts = Mapping[str, About]  # key of the config -> the file that it names


def is_file(start: str) -> bool:
  """Whether the `start` of a training job names a weight file, not a workdir.

  Example:
    >>> is_file('resnet50.safetensors'), is_file('../pretrained')
    (True, False)
  """
  return pathlib.Path(start).suffix.lower() in SUFFIXES


def key_of(start: str) -> str:
  """The key of the config that names the weights of one of pretrain.starts."""
  return f'pretrain.starts.{start}.weights'


def named(config: blocks.PipelineConfig | blocks.JobConfig) -> dict[str, str]:
  """The weight files that a config names: its key -> path."""
  if isinstance(config, blocks.JobConfig):
    return {'start': config.start} if is_file(config.start) else {}
  starts = config.pretrain.starts
  return {key_of(name): start.weights for name, start in starts.items() if start.weights}


def digest(key: str, path: str) -> str:
  """The SHA-256 of a file that a key of the config names.

  Raises:
    InputError: there is no such file, or it cannot be read.
  """
  if not os.path.isfile(path):
    raise InputError(
      f'{key}: there is no file {path}; a path of weights is relative to the current directory'
    )
  try:
    with open(path, 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise InputError(f'{key}: {path} cannot be read ({first_line(error)})') from error


def refuse_others(folder: Folder, config: Mapping[str, Any]) -> None:
  """Raises InputError if a config's files differ from those the run in the folder began with."""
  files = named(blocks.typed(config))
  _compare(folder, {key: digest(key, path) for key, path in files.items()})


def keep(folder: Folder, abouts: Abouts) -> None:
  """Records the files of a run; raises InputError like `refuse_others`."""
  _compare(folder, {key: about.sha256 for key, about in abouts.items()})
  if abouts:
    folder.write_json(WEIGHTS, {key: about._asdict() for key, about in abouts.items()})


def held(folder: Folder, remedy: str = 'delete it') -> dict[str, About]:
  """What `keep` recorded; empty if there is no record.

  Raises:
    InputError: the record is damaged; the message ends with the remedy.
  """
  if not os.path.lexists(folder / WEIGHTS):
    return {}
  kept = folder.read_json(WEIGHTS, remedy)
  if not isinstance(kept, dict) or not all(isinstance(x, dict) for x in kept.values()):
    raise InputError(f'{folder / WEIGHTS} is not a record of weights; {remedy}')
  return {key: call(About, x, f'{folder / WEIGHTS}: {key}') for key, x in kept.items()}


def _compare(folder: Folder, digests: Mapping[str, str]) -> None:
  before = held(folder) if digests else {}
  for key, now in digests.items():
    if key in before and before[key].sha256 != now:
      raise InputError(
        f'{key} names another file than the run in {folder} began with (SHA-256 {now[:SHOWN]}… '
        f'now, {before[key].sha256[:SHOWN]}… there); put {before[key].file} back, or use another '
        f'--workdir'
      )

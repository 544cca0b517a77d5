"""A training job's saved model: the network's parameters and state in one file."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax

from l2o.artifacts import arrays_file
from l2o.errors import InputError
from l2o.registry import call
from l2o.types import Params, PyTree
from trainers.harness.folder import MODEL, RESULTS, Folder

FORMAT = 1


class _About(NamedTuple):
  """The file's description."""

  format: Literal[1]
  parts: Sequence[str]  # parts with arrays; an empty state has none and is not stored


def save(folder: Folder, params: Params, model_state: PyTree) -> None:
  """Writes a job's model atomically: nested dicts of arrays on the host."""
  tree = {'params': params, 'model_state': model_state}
  parts = [name for name, part in tree.items() if jax.tree.leaves(part)]
  folder.write(MODEL, arrays_file.pack(tree, _About(FORMAT, parts)._asdict()))


def load(folder: Folder) -> tuple[Params, PyTree]:
  """Reads the model of a finished job: (params, model_state).

  Args:
    folder: the job's workdir.

  Raises:
    InputError: there is no model, the job is unfinished, or the file is damaged or incomplete.
  """
  path = folder / MODEL
  if not (folder / RESULTS).exists() or not path.exists():
    raise InputError(
      f'start: {folder} holds no training job that has ended; name the workdir of one, or run it'
    )
  try:
    held, said = arrays_file.read(path, 'model of a training job', 'run its job again')
    about = call(_About, said, f'the description in {path}')
  except InputError as error:
    raise InputError(f'start: {error}') from error
  if missing := [part for part in ('params', *about.parts) if part not in held]:
    raise InputError(f'start: {path} lacks {missing[0]}; run its job again')
  return held['params'], held.get('model_state', {})

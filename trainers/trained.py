"""What a training job leaves: the network's parameters and state in one file."""

import pathlib

import safetensors
import safetensors.numpy

from l2o.artifact import flatten, unflatten
from l2o.errors import InputError
from l2o.types import Params, PyTree
from trainers.workdir import RESULTS

MODEL = 'model.safetensors'


def save(folder: pathlib.Path, params: Params, model_state: PyTree) -> None:
  """Writes a job's model, whole or not at all: nested dicts of arrays on the host."""
  partial = folder / f'{MODEL}.partial'
  arrays = flatten({'params': params, 'model_state': model_state})
  partial.write_bytes(safetensors.numpy.save(arrays))
  partial.replace(folder / MODEL)


def load(folder: pathlib.Path) -> tuple[Params, PyTree]:
  """Reads the model of an ended job: (params, model_state).

  Args:
    folder: the job's workdir.

  Raises:
    InputError: there is none, the job has not ended, or the file is damaged.
  """
  path = folder / MODEL
  if not (folder / RESULTS).exists() or not path.exists():
    raise InputError(
      f'start: {folder} holds no training job that has ended; name the workdir of one, or run it'
    )
  try:
    held = unflatten(safetensors.numpy.load_file(path))
  except (OSError, safetensors.SafetensorError) as error:
    raise InputError(f'start: {path} is damaged ({error}); run its job again') from error
  return held['params'], held.get('model_state', {})

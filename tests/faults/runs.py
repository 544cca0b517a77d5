"""Runs to damage, what is left of them, and the table of what came out."""

import json
import signal
from unittest import mock

import safetensors

from l2o.errors import InputError, RunError
from tests.tiny_run import execute
from trainers.harness import loop
from trainers.harness.folder import MODEL, OPTIMIZER

LOGS = '*/metrics.jsonl'
ROW = 'fault'  # name of the property of a test that holds a row of the table and its outcome


def left(folder, logs=True):
  """Everything of a finished run that must be as if nothing had happened.

  Args:
    folder: the run's.
    logs: whether the rows of the stages' metrics count.
  """
  names = ['results.json', 'table.txt']
  if logs:
    names += ['records.csv.gz', *(str(log.relative_to(folder)) for log in folder.glob(LOGS))]
  found = {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
  json.loads(found['results.json'])
  name = next(name for name in (OPTIMIZER, MODEL) if (folder / name).exists())
  with safetensors.safe_open(folder / name, framework='numpy') as arrays:
    return found | {name: arrays.get_tensor(name).tobytes() for name in arrays.keys()}  # noqa: SIM118


def interrupted(config, folder, stage, step):
  """The folder of a run that SIGTERM has ended in a stage, after a step."""

  def progress(name, *arguments):
    return lambda done, state: (name, done) == (stage, step) and signal.raise_signal(signal.SIGTERM)

  with mock.patch.object(loop, 'progress', progress):
    assert refusal(config, folder).startswith(f'{stage}: ended by SIGTERM after')
  return folder


def refusal(config, folder, drawn=True):
  """The one sentence in which a run is refused; None if it ends. Anything else is raised."""
  try:
    execute(config, folder, drawn)
  except (InputError, RunError) as error:
    said = str(error)
    assert '\n' not in said
    assert len(said) < 700
    return said
  return None

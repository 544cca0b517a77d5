"""Networks to start from that come from weight files, and the preprocessing that they need."""

import contextlib
import inspect
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from l2o.errors import InputError
from l2o.models.pretrained.weights import load_weights, usual_preprocessing
from l2o.registry import call, resolve
from l2o.tasks import TASKS
from l2o.tasks.classification import cropped
from l2o.tasks.preprocessing import Preprocessing
from l2o.types import Start
from trainers.harness.weights import About, Abouts, digest
from trainers.processes import agreement

Spec = Mapping[str, Any]
PREPROCESSING = 'preprocessing'  # a key of the task's block


class Given(NamedTuple):
  """What a weight file provides."""

  start: Start
  about: About


def load(
  files: Mapping[str, str],
  model: nn.Module | None,
  task: Spec,
  image_shape: Sequence[int] | None,
) -> dict[str, Given]:
  """Loads each file into the model of a task, or into the module that it calls `pretrained`.

  Args:
    files: key of the config -> path.
    model: the network, with the classes of a task; None for a task without one.
    task: the config's block, whose crop and preprocessing change what the model sees.
    image_shape: (H, W, C) of the images; None without images.

  Raises:
    InputError: see `load_weights`; also a file that is missing or differs between processes, or a
      task without images.
  """
  found = {key: _load(key, path, model, task, image_shape) for key, path in files.items()}
  if found:
    agreement.same({key: given.about.sha256 for key, given in found.items()}, 'their weights')
  return found


def prepared(task: Spec, abouts: Abouts) -> Spec:
  """The task's block with the preprocessing that weights need, where it does not set its own.

  Args:
    task: the config's block.
    abouts: key of the config -> the weight file that it names.

  Raises:
    InputError: the task has no preprocessing, or two files need different ones.
  """
  if not abouts:
    return task
  own = _own(task)
  (first, about), *others = abouts.items()
  if PREPROCESSING not in _arguments(task):
    raise InputError(
      f'{first}: weights need a task with preprocessing, such as classification, not {task["name"]}'
    )
  for key, other in others:
    for name, value in about.preprocessing.items():
      if other.preprocessing[name] != value and name not in own:
        raise InputError(
          f'{first} and {key} need different preprocessing, but their tasks share one ({name}: '
          f'{value} and {other.preprocessing[name]}); set task.preprocessing.{name}'
        )
  return {**task, PREPROCESSING: {**about.preprocessing, **own}}


def applied(about: About, task: Spec) -> About:
  """The file's record with the preprocessing of a task that `prepared` returned."""
  return about._replace(preprocessing=task[PREPROCESSING])


def inherited(before: Spec, task: Spec) -> Spec:
  """A task's block that inherits the preprocessing set explicitly in an earlier job's task."""
  return {**task, PREPROCESSING: {**_own(before), **_own(task)}}


def _load(
  key: str, path: str, model: nn.Module | None, task: Spec, image_shape: Sequence[int] | None
) -> Given:
  sha256 = digest(key, path)
  part = getattr(model, 'pretrained', '')  # a module; '' for the whole model
  model = getattr(model, part) if part else model
  if model is None or image_shape is None or len(image_shape) != 3:
    raise InputError(
      f'{key}: weights are for a network on images, which this config lacks; leave {key} empty, or '
      f'add such a model'
    )
  crop = {name: value for name, value in task.items() if name == 'crop'}
  shape = call(cropped, crop, 'task', image_shape=image_shape)
  with _told_of(key):
    usual = usual_preprocessing(model, image_shape)._asdict()
  expected = call(Preprocessing, {**usual, **_own(task)}, 'task.preprocessing')
  with _told_of(key):
    # Any key will do for the head: a task draws its own.
    weights = load_weights(path, model, expected.shape(shape), jax.random.key(0))
  about = About(pathlib.Path(path).name, sha256, weights.preprocessing._asdict())
  start = weights.params, weights.model_state
  return Given(_below(part, start) if part else start, about)


def _below(part: str, start: Start) -> Start:
  """The start of a larger model whose module `part` has this start."""
  params, model_state = start
  return {part: params}, {name: {part: x} for name, x in model_state.items()}


@contextlib.contextmanager
def _told_of(key: str) -> Iterator[None]:
  try:
    yield
  except InputError as error:
    raise InputError(f'{key}: {error}') from error


def _arguments(task: Spec) -> Mapping[str, Any]:
  return inspect.signature(resolve(TASKS, task.get('name', ''), 'task')).parameters


def _own(task: Spec) -> Spec:
  """The preprocessing attributes that the config sets explicitly."""
  own = {} if task.get(PREPROCESSING) is None else task[PREPROCESSING]
  if not isinstance(own, Mapping):
    raise InputError(f'task.preprocessing must be a block of keys, not {own!r}')
  return own

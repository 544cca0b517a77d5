"""Regression: the mean squared error of a network's outputs."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2o.arguments import NotNegative, Positive, Whole, checked
from l2o.errors import InputError
from l2o.tasks.parts import in_parts
from l2o.tasks.preprocessing import Preprocessing, prepared
from l2o.types import Batch, InitTask, LossAndAux, Metrics, Params, PyTree, Start, Task

TARGET = 'target'


@checked
def regression(
  model: nn.Module,
  example: Mapping[str, Any],
  scale: Positive = 1.0,
  peak: NotNegative = 0.0,
  preprocessing: Preprocessing | Mapping[str, Any] | None = None,
  evaluated_at_once: Whole = 0,
) -> Task:
  """Mean squared error on `{'target': [B, ...], **inputs}`, inputs passed to the model by name.

      loss = mean (model(inputs) - target)²
      evaluate's mse = scale² loss,    psnr = 10 log10(peak² / loss) in dB

  Args:
    model: called as `model(**inputs, train=bool)`, to the target's shape.
    example: a batch, for its shapes.
    scale: physical units per target unit, for example 10 if a target of 1 means 10 degrees; 1 for
      no `mse` beside the loss.
    peak: the width of the target's range; 0 for no `psnr`.
    preprocessing: for uint8 inputs [B, ..., H, W, C], as in `classification`; other inputs stay
      as they are.
    evaluated_at_once: examples per forward pass in an evaluation, so that a large one fits in
      memory; 0 for all of them.

  Raises:
    InputError: scale or peak out of bounds, an invalid preprocessing, or one without such inputs;
      when traced, outputs that do not have the target's shape.

  Returns:
    A Task whose `init` takes `pretrained=(params, model_state)` of the model, or of only the
    module that its attribute `pretrained` names: the other modules are drawn.

  Example:
    >>> from l2o.models.lstm import LSTM
    >>> batch = {'inputs': jnp.zeros((2, 5, 3)), 'target': jnp.ones((2, 5, 1))}
    >>> task = regression(LSTM(num_outputs=1, features=4), batch, scale=10.0)
    >>> params, state = task.init(jax.random.key(0))
    >>> {name: float(x) for name, x in task.evaluate(params, state, batch).items()}
    {'loss': 1.0, 'mse': 100.0}
  """

  prepare = _prepare(preprocessing, example)

  def loss(params: Params, model_state: PyTree, key: jax.Array, batch: Batch) -> LossAndAux:
    settings: dict[str, Any] = {'mutable': list(model_state), 'rngs': {'dropout': key}}
    variables = {'params': params, **model_state}
    inputs = _inputs(prepare(batch))
    output, new_state = model.apply(variables, **inputs, train=True, **settings)
    return _mse(output, batch), (new_state, {})

  def evaluate(params: Params, model_state: PyTree, batch: Batch) -> Metrics:
    output = _outputs(model, prepare, evaluated_at_once, params, model_state, batch)
    return _metrics(_mse(output, batch), scale, peak)

  return Task(_init(model, prepare, example), loss, evaluate)


def _init(
  model: nn.Module, prepare: Callable[[Batch], Batch], example: Mapping[str, Any]
) -> InitTask:
  def init(key: jax.Array, pretrained: Start | None = None) -> Start:
    if pretrained is not None and set(pretrained[0]) != {getattr(model, 'pretrained', '')}:
      return pretrained
    zeros: dict[str, Any] = {name: jnp.zeros(x.shape, x.dtype) for name, x in example.items()}
    variables = dict(model.init(key, **_inputs(prepare(zeros)), train=False))
    fresh = variables.pop('params'), variables
    return fresh if pretrained is None else _completed(pretrained, fresh)

  return init


def _outputs(
  model: nn.Module,
  prepare: Callable[[Batch], Batch],
  at_once: int,
  params: Params,
  model_state: PyTree,
  batch: Batch,
) -> jax.Array:
  def predicted(part: Batch) -> jax.Array:
    return predict(model, params, model_state, prepare(part))

  return in_parts(predicted, _inputs(batch), at_once)


def predict(model: nn.Module, params: Params, model_state: PyTree, batch: Batch) -> jax.Array:
  """The model's outputs for a batch whose inputs are already preprocessed."""
  variables: Mapping[str, Any] = {'params': params, **model_state}
  output: Any = model.apply(variables, **_inputs(batch), train=False)
  return output


def _completed(given: Start, fresh: Start) -> Start:
  """A network with some modules given and the others fresh."""
  (params, state), (drawn, fresh_state) = given, fresh
  collections = {**fresh_state, **state}
  filled = {name: {**fresh_state.get(name, {}), **state.get(name, {})} for name in collections}
  return {**drawn, **params}, filled


def _prepare(
  given: Preprocessing | Mapping[str, Any] | None, example: Mapping[str, Any]
) -> Callable[[Batch], Batch]:
  """The preprocessing of a batch's images, which are its uint8 inputs."""
  images = {name for name, x in _inputs(example).items() if x.dtype == jnp.uint8 and x.ndim > 3}
  if given is not None and not images:
    raise InputError(
      'task.preprocessing needs images in uint8, which this batch source does not give; '
      'lane_keeping does with batch_source.pixels = True'
    )
  how = {name: prepared(given, example[name].shape[-3:])[0] for name in images}

  def prepare(batch: Batch) -> Batch:
    return {name: _each(how[name], x) if name in how else x for name, x in batch.items()}

  return prepare


def _each(change: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
  """Applies a function of images [B, H, W, C] to images [..., H, W, C]."""
  changed = change(images.reshape((-1, *images.shape[-3:])))
  return changed.reshape((*images.shape[:-3], *changed.shape[1:]))


def _inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
  return {name: x for name, x in batch.items() if name != TARGET}


def _metrics(error: jax.Array, scale: float, peak: float) -> Metrics:
  metrics = {'loss': error}
  if scale != 1.0:
    metrics['mse'] = scale**2 * error
  if peak:
    metrics['psnr'] = 10.0 * jnp.log10(peak**2 / error)
  return metrics


def _mse(output: jax.Array, batch: Batch) -> jax.Array:
  if output.shape != batch[TARGET].shape:
    raise InputError(
      f'the model returns {output.shape} for a target of shape {batch[TARGET].shape}; change the '
      f'number of its outputs'
    )
  return jnp.mean(jnp.square(output - batch[TARGET]))

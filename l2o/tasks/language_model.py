"""Language modelling: predict each token of a text from the tokens before it."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from l2o.arguments import Count, Positive, Whole, checked
from l2o.errors import InputError
from l2o.tasks.lora import lora
from l2o.tasks.parts import in_parts
from l2o.types import Batch, LossAndAux, Metrics, Params, PyTree, Start, Task


@checked
def language_model(
  model: nn.Module,
  image_shape: Sequence[Count],
  evaluated_at_once: Whole = 0,
  lora_rank: Whole = 0,
  lora_alpha: Positive = 16.0,
) -> Task:
  """Next-token cross-entropy on `{'image': [B, T + 1, 1, C] uint8}`, texts of the text sources.

  A token is a C-byte integer, lowest byte first.

  The loss is in nats per token, `bits` is the same in bits: bits per byte if tokens are bytes.

  Args:
    model: called as `model(tokens [B, T] int32, train=bool)` -> logits [B, T, V].
    image_shape: (T + 1, 1, C), C at most 3.
    evaluated_at_once: texts per forward pass in an evaluation; 0 for all of them.
    lora_rank: rank of LoRA adapters (`l2o.tasks.lora`), which are then all that is trained,
      while the pretrained network stays as it is; 0 to train the network.
    lora_alpha: scale of the adapters, which is divided by their rank.

  Returns:
    A Task whose `init` takes `pretrained=(params, model_state)` unchanged.

  Raises:
    InputError: examples that are not texts.

  Example:
    >>> from l2o.models.decoder import Decoder
    >>> task = language_model(Decoder(width=16, depth=1, heads=2), (9, 1, 1))
    >>> params, model_state = jax.jit(task.init)(jax.random.key(0))
    >>> batch = {'image': jnp.arange(18, dtype=jnp.uint8).reshape(2, 9, 1, 1)}
    >>> found = jax.jit(task.evaluate)(params, model_state, batch)
    >>> round(float(found['bits']))  # log2 of 256 bytes
    8
  """
  length = _length(image_shape)

  def init(key: jax.Array, pretrained: Start | None = None) -> Start:
    if pretrained is not None:
      return pretrained
    model_state = dict(model.init(key, jnp.zeros((1, length), jnp.int32), train=False))
    return model_state.pop('params'), model_state

  def loss(params: Params, model_state: PyTree, key: jax.Array, batch: Batch) -> LossAndAux:
    del key
    metrics = _metrics(_predicted(model, params, model_state, batch, train=True))
    return metrics['loss'], (model_state, metrics)

  def evaluate(params: Params, model_state: PyTree, batch: Batch) -> Metrics:
    part = partial(_predicted, model, params, model_state, train=False)
    return _metrics(in_parts(part, {'image': batch['image']}, evaluated_at_once))

  task = Task(init, loss, evaluate)
  return lora(task, lora_rank, lora_alpha) if lora_rank else task


def _length(image_shape: Sequence[int]) -> int:
  """T; raises InputError if the examples are not texts."""
  if len(image_shape) != 3 or image_shape[0] < 2 or image_shape[1] > 1 or image_shape[2] > 3:
    raise InputError(
      f'task language_model needs texts of at least two tokens, not examples of shape '
      f'{tuple(image_shape)}: take a text source'
    )
  return image_shape[0] - 1


def _predicted(
  model: nn.Module, params: Params, model_state: PyTree, batch: Batch, train: bool
) -> jax.Array:
  """[B, T, 2]: the loss of each token, and 1 where the likeliest one is right."""
  tokens = _tokens(batch['image'])
  logits: Any = model.apply({'params': params, **model_state}, tokens[:, :-1], train=train)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
  return jnp.stack([losses, jnp.argmax(logits, axis=-1) == tokens[:, 1:]], axis=-1)


def _tokens(image: jax.Array) -> jax.Array:
  """[B, T + 1] int32 from [B, T + 1, 1, C] bytes, lowest byte first."""
  return image[:, :, 0].astype(jnp.int32) @ 256 ** jnp.arange(image.shape[-1])


def _metrics(each: jax.Array) -> Metrics:
  loss, accuracy = jnp.mean(each, axis=(0, 1))
  return {'loss': loss, 'accuracy': accuracy, 'bits': loss / math.log(2)}

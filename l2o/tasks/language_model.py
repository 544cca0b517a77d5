"""Language modelling: predict each token of a text from those before it."""

import math
from collections.abc import Sequence
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
  """Next-token cross-entropy on `{'image': [B, T + 1, 1, 1] uint8}`, texts of the text sources.

  The loss is in nats a token, `bits` the same in bits; with bytes for tokens, bits per byte.

  Args:
    model: called as `model(tokens [B, T] int32, train=bool)` -> logits [B, T, V].
    image_shape: (T + 1, 1, 1).
    evaluated_at_once: texts that the network sees at a time in an evaluation; 0 for all.
    lora_rank: rank of LoRA adapters (`l2o.tasks.lora`), which are then all that is trained, of a
      network that stays as it was pretrained; 0 to train the network.
    lora_alpha: scale of the adapters, divided by their rank.

  Returns:
    A Task whose `init` takes `pretrained=(params, model_state)` as they are.

  Raises:
    InputError: examples that are not texts.

  Example:
    >>> from l2o.models.decoder import Decoder
    >>> task = language_model(Decoder(width=16, depth=1, heads=2), (9, 1, 1))
    >>> params, model_state = task.init(jax.random.key(0))
    >>> batch = {'image': jnp.arange(18, dtype=jnp.uint8).reshape(2, 9, 1, 1)}
    >>> round(float(task.evaluate(params, model_state, batch)['bits']))  # log2 of 256 bytes
    8
  """
  length = image_shape[0] - 1
  if tuple(image_shape[1:]) != (1, 1) or length < 1:
    raise InputError(
      f'task language_model needs texts of at least two tokens, not examples of shape '
      f'{tuple(image_shape)}: take a text source'
    )

  def logits_of(params: Params, model_state: PyTree, tokens: jax.Array, train: bool) -> jax.Array:
    logits: Any = model.apply({'params': params, **model_state}, tokens, train=train)
    return logits

  def init(key: jax.Array, pretrained: Start | None = None) -> Start:
    if pretrained is not None:
      return pretrained
    model_state = dict(model.init(key, jnp.zeros((1, length), jnp.int32), train=False))
    return model_state.pop('params'), model_state

  def loss(params: Params, model_state: PyTree, key: jax.Array, batch: Batch) -> LossAndAux:
    del key
    tokens = _tokens(batch)
    logits = logits_of(params, model_state, tokens[:, :-1], train=True)
    metrics = _metrics(_each(logits, tokens[:, 1:]))
    return metrics['loss'], (model_state, metrics)

  def evaluate(params: Params, model_state: PyTree, batch: Batch) -> Metrics:
    def part(some: Batch) -> jax.Array:
      tokens = _tokens(some)
      return _each(logits_of(params, model_state, tokens[:, :-1], train=False), tokens[:, 1:])

    return _metrics(in_parts(part, {'image': batch['image']}, evaluated_at_once))

  task = Task(init, loss, evaluate)
  return lora(task, lora_rank, lora_alpha) if lora_rank else task


def _tokens(batch: Batch) -> jax.Array:
  return batch['image'][:, :, 0, 0].astype(jnp.int32)


def _each(logits: jax.Array, targets: jax.Array) -> jax.Array:
  """[B, T, 2]: the loss of each token, and 1 where the likeliest one is right."""
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
  return jnp.stack([losses, jnp.argmax(logits, axis=-1) == targets], axis=-1)


def _metrics(each: jax.Array) -> Metrics:
  loss, accuracy = jnp.mean(each, axis=(0, 1))
  return {'loss': loss, 'accuracy': accuracy, 'bits': loss / math.log(2)}

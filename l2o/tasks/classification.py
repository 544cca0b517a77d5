"""Image classification with a fresh head on a pretrained backbone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from l2o.arguments import Count, NotNegative, Range, Whole, checked
from l2o.errors import InputError
from l2o.tasks.cutmix import Mixed, mixed
from l2o.tasks.parts import in_parts
from l2o.tasks.preprocessing import Preprocessing
from l2o.tasks.preprocessing import prepared as prepared_by
from l2o.types import Batch, InitTask, LossAndAux, Metrics, Params, PyTree, Start, Task

Fraction = Annotated[float, Range(at_least=0, below=1)]
TOP = 5  # for `top_5_accuracy`: a label counts among this many likeliest classes


@checked
def classification(
  model: nn.Module,
  image_shape: Sequence[Count],
  head: str = 'head',
  crop: Whole = 0,
  mirror: bool = False,
  preprocessing: Preprocessing | Mapping[str, Any] | None = None,
  cutmix: NotNegative = 0.0,
  label_smoothing: Fraction = 0.0,
  evaluated_at_once: Whole = 0,
) -> Task:
  """Softmax cross-entropy on `{'image': [B, H, W, C] uint8, 'label': [B] int32}`.

  Args:
    model: called as `model(images, train=bool)` -> logits.
    image_shape: (H, W, C).
    head: the module that is reinitialized when a task starts from pretrained parameters.
    crop: height and width of what the model sees: a random crop in training, the centre crop in
      evaluation; 0 for the whole image.
    mirror: whether training images are flipped left to right with probability 1/2.
    preprocessing: a Preprocessing, or a block of its attributes; None for image / 255 or, in a
      config with pretrained weights, for theirs; a block then overrides only what it names.
    cutmix: alpha of CutMix (`l2o.tasks.cutmix`) in training, after crop and mirror; 0 for none. The
      loss then uses the mixed labels, the accuracy the batch's own.
    label_smoothing: in the training loss, the share of a label that is spread evenly over all
      classes (Szegedy et al., arXiv 1512.00567, sec. 7).
    evaluated_at_once: images per forward pass in an evaluation, so that a large one fits in
      memory; 0 for all of them.

  Raises:
    InputError: no classes, too large a crop, an invalid preprocessing; at `init`, no module `head`.

  Returns:
    A Task whose `init` takes `pretrained=(params, model_state)`, for any number of classes. Its
    evaluation also has `top_5_accuracy` if there are more than five.

  Example:
    >>> from l2o.models.mlp import MLP
    >>> task = classification(MLP(num_classes=5, features=(8,)), (4, 4, 1))
    >>> params, model_state = task.init(jax.random.key(0))
    >>> batch = {'image': jnp.zeros((3, 4, 4, 1), jnp.uint8), 'label': jnp.array([0, 1, 2])}
    >>> sorted(task.evaluate(params, model_state, batch))
    ['accuracy', 'loss']
  """
  _refuse_headless(model)
  seen = cropped(image_shape, crop)
  prepared, shape = prepared_by(preprocessing, seen)

  def loss(params: Params, model_state: PyTree, key: jax.Array, batch: Batch) -> LossAndAux:
    images, mix = _augmented(key, batch['image'], seen, mirror, cutmix)
    how: dict[str, Any] = {'train': True, 'mutable': list(model_state), 'rngs': {'dropout': key}}
    logits, new_state = model.apply({'params': params, **model_state}, prepared(images), **how)
    losses = _losses(logits, batch['label'], label_smoothing, mix)
    metrics = _metrics(logits, batch['label'], losses)
    return metrics['loss'], (new_state, metrics)

  def middle(images: jax.Array) -> jax.Array:
    return prepared(_middle(images, seen))

  return Task(_init(model, shape, head), loss, _evaluate(model, middle, evaluated_at_once))


def _evaluate(
  model: nn.Module, middle: Callable[[jax.Array], jax.Array], at_once: int
) -> Callable[[Params, PyTree, Batch], Metrics]:
  def evaluate(params: Params, model_state: PyTree, batch: Batch) -> Metrics:
    def classified(part: Batch) -> jax.Array:
      variables: Mapping[str, Any] = {'params': params, **model_state}
      logits: Any = model.apply(variables, middle(part['image']), train=False)
      return logits

    logits = in_parts(classified, {'image': batch['image']}, at_once)
    metrics = _metrics(logits, batch['label'], _losses(logits, batch['label']))
    return metrics | _among_the_first(logits, batch['label'])

  return evaluate


def _init(model: nn.Module, shape: tuple[int, ...], head: str) -> InitTask:
  def init(key: jax.Array, pretrained: Start | None = None) -> Start:
    model_state = dict(model.init(key, jnp.zeros((1, *shape)), train=False))
    params = model_state.pop('params')
    if pretrained is None:
      return params, model_state
    return {**pretrained[0], head: _module(params, head)}, pretrained[1]

  return init


def _refuse_headless(model: nn.Module) -> None:
  if getattr(model, 'num_classes', None) == 0:
    raise InputError('model.num_classes must be at least 1 in classification, not 0')


def _module(params: Params, head: str) -> Params:
  if head not in params:
    raise InputError(
      f'task.head {head!r} is not a module of the model: {", ".join(sorted(params))}'
    )
  return params[head]


def cropped(image_shape: Sequence[int], crop: Whole = 0) -> tuple[int, int, int]:
  """(H, W, C) of images after the crop of `classification`.

  Raises:
    InputError: a crop larger than the images.

  Example:
    >>> cropped((32, 40, 3), crop=28), cropped((32, 40, 3))
    ((28, 28, 3), (32, 40, 3))
  """
  height, width, channels = image_shape
  if crop > min(height, width):
    raise InputError(f'task.crop must be 0 to {min(height, width)}, not {crop}')
  return (crop or height, crop or width, channels)


def _middle(images: jax.Array, seen: tuple[int, int, int]) -> jax.Array:
  top, left = (images.shape[1] - seen[0]) // 2, (images.shape[2] - seen[1]) // 2
  return images[:, top : top + seen[0], left : left + seen[1]]


def _augmented(
  key: jax.Array, images: jax.Array, seen: tuple[int, int, int], mirror: bool, cutmix: float
) -> tuple[jax.Array, Mixed | None]:
  """Training images [B, H, W, C] as the model sees them [B, *seen]."""
  if mirror or images.shape[1:] != seen:
    images = _cut_at_random(jax.random.fold_in(key, 1), images, seen, mirror)
  if not cutmix:
    return images, None
  mix = mixed(jax.random.fold_in(key, 2), images, cutmix)
  return mix.images, mix


def _cut_at_random(
  key: jax.Array, images: jax.Array, seen: tuple[int, int, int], mirror: bool
) -> jax.Array:
  """A random crop of each image, [B, H, W, C] -> [B, *seen], flipped at random if `mirror`."""
  place_key, mirror_key = jax.random.split(key)
  room = jnp.array([images.shape[1] - seen[0], images.shape[2] - seen[1]])
  places = jax.random.randint(place_key, (len(images), 2), 0, room[None] + 1)
  cut = jax.vmap(lambda x, at: jax.lax.dynamic_slice(x, (at[0], at[1], 0), seen))(images, places)
  if not mirror:
    return cut
  turned = jax.random.bernoulli(mirror_key, shape=(len(images), 1, 1, 1))
  return jnp.where(turned, cut[:, :, ::-1], cut)


def _losses(
  logits: Any, labels: jax.Array, smoothing: float = 0.0, mix: Mixed | None = None
) -> jax.Array:
  """Losses [B], for the labels or for their mixture."""
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  if smoothing:
    to_all = -jnp.mean(jax.nn.log_softmax(logits), axis=-1)
    losses = (1 - smoothing) * losses + smoothing * to_all
  if mix is None:
    return losses
  return mix.own * losses + (1 - mix.own) * _losses(logits, labels[mix.others], smoothing)


def _metrics(logits: Any, labels: jax.Array, losses: jax.Array) -> Metrics:
  return {'loss': jnp.mean(losses), 'accuracy': jnp.mean(jnp.argmax(logits, axis=-1) == labels)}


def _among_the_first(logits: jax.Array, labels: jax.Array) -> Metrics:
  if logits.shape[-1] <= TOP:
    return {}
  first = jax.lax.top_k(logits, TOP)[1]
  return {'top_5_accuracy': jnp.mean(jnp.any(first == labels[:, None], axis=-1))}

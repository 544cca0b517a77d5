"""Every optimizer that comes with l2o has learned something: it beats what it began with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import datasets
import l2o
from l2o.inner.step import InnerState, inner_step
from l2o.models.cifar_resnet import CifarResNet
from l2o.models.mlp import MLP
from l2o.models.resnet import ResNet
from l2o.tasks.classification import classification


def characters(rng):
  """Five characters, a perceptron: what the quickstart meta-trains on."""
  source = datasets.load({'name': 'glyphs', 'per_font': 1}, 'train')
  rows = np.concatenate([source.class_index[c] for c in range(10, 15)])
  images = source.arrays()['image'][rows]
  labels = np.repeat(np.arange(5), len(rows) // 5)
  return classification(MLP(5, (64, 64)), (28, 28, 1)), images, labels


def patterns(rng):
  """Ten noisy patterns in colour, the ResNet-8 of configs/l3rs_cifar100.py."""
  labels = np.arange(40) % 10
  images = rng.integers(0, 256, (10, 8, 8, 3))[labels] + rng.normal(0, 40, (40, 8, 8, 3))
  model = ResNet(10, features=(16, 32, 64), blocks=1, stem_stride=2)
  return classification(model, (8, 8, 3)), np.clip(images, 0, 255).astype(np.uint8), labels


# name -> its kind of task, and K
KINDS = {
  'l3rs-quickstart': (characters, 20),
  'velo-quickstart': (characters, 20),
  'l3rs-cifar100': (patterns, 10),
}


def final_losses(task, rule, thetas, batch, num_steps, seeds=2):
  """The losses of each theta after some steps, [thetas, seeds]."""

  def run(theta, key):
    params, model_state = task.init(key)
    tx = rule.bind(theta, num_steps)

    def loss(params, model_state):
      return task.loss(params, model_state, key, batch)

    def step(carry, _):
      params, model_state, state = carry
      (value, (model_state, _)), grads = jax.value_and_grad(loss, has_aux=True)(params, model_state)
      updates, state = tx.update(grads, state, params, value=value)
      return (optax.apply_updates(params, updates), model_state, state), value

    _, values = jax.lax.scan(step, (params, model_state, tx.init(params)), None, length=num_steps)
    return values[-1]

  keys = jax.random.split(jax.random.key(1), seeds)
  program = jax.jit(lambda theta: jax.lax.map(lambda key: run(theta, key), keys))
  return [program(theta) for theta in thetas]


def test_every_optimizer_is_tried_here():
  assert set(l2o.zoo()) == {*KINDS, 'l3rs-resnet20'}


QUICK = 'l3rs-quickstart'  # the others take longer to compile; the next test has another one


@pytest.mark.parametrize(
  'name', [k if k == QUICK else pytest.param(k, marks=pytest.mark.slow) for k in KINDS]
)
def test_it_beats_its_untrained_self_on_a_task_of_its_kind(name, rng):
  kind, num_steps = KINDS[name]
  task, images, labels = kind(rng)
  batch = {'image': jnp.asarray(images), 'label': jnp.asarray(labels, jnp.int32)}
  artifact = l2o.read(name)
  rule = l2o.rule(**artifact.spec)
  untrained = rule.init(jax.random.key(0), task.init(jax.random.key(0))[0])
  learned, unlearned = final_losses(task, rule, (artifact.theta, untrained), batch, num_steps)
  assert np.all(learned < 0.8 * unlearned)


def digits(rng, classes, num_steps):
  """Batches of 16 digits of some classes, in colour and with half of their rows and columns."""
  source = datasets.load({'name': 'digits'}, 'train')
  labels = rng.integers(0, len(classes), (num_steps, 16))
  rows = [[rng.choice(source.class_index[classes[i]]) for i in batch] for batch in labels]
  images = source.arrays()['image'][np.array(rows)][:, :, ::2, ::2]
  return {'image': jnp.asarray(np.repeat(images, 3, -1)), 'label': jnp.asarray(labels)}


def test_the_one_for_fine_tuning_beats_its_untrained_self_on_new_classes(rng):
  """As it was meta-trained: from a network that others have trained, on classes it has not seen."""
  task = classification(CifarResNet(5, depth=8), (14, 14, 3))

  @functools.partial(jax.jit, static_argnums=0)
  def trained(bind, theta, params, model_state, batches):
    tx = bind(theta)
    state = InnerState(params, model_state, tx.init(params))

    def step(state, batch):
      state, metrics = inner_step(task, tx, state, jax.random.key(0), batch)
      return state, metrics['loss']

    state, losses = jax.lax.scan(step, state, batches)
    return state, jnp.mean(losses)

  adam = lambda rate: optax.with_extra_args_support(optax.adam(rate))  # noqa: E731
  start, _ = trained(adam, 3e-3, *task.init(jax.random.key(0)), digits(rng, range(5), 50))
  held = l2o.read('l3rs-resnet20')
  theta = held.rule.retarget(held.theta, start.params, on_mismatch='mean_embedding')
  untrained = held.rule.init(jax.random.key(0), start.params)
  batches, bind = digits(rng, range(5, 10), 20), functools.partial(held.rule.bind, num_steps=20)
  learned, unlearned = (
    float(trained(bind, theta, start.params, start.model_state, batches)[1])
    for theta in (theta, untrained)
  )
  assert learned < 0.85 * unlearned

"""What HUB and LGL2O add to a training step, compared with the learned optimizer alone.

python -m benchmarks.train_step [--learned=velo-quickstart] [--rounds=30]

A step of the ResNet-8 of configs/l3rs_cifar100.py (batch 32, random images), with donated state;
all variants take turns in one run, and medians are taken over rounds. `over learned`: the ratio to
a step with the learned optimizer alone. `budget`, for LGL2O: what it adds, over the cost of one
extra forward pass and Adam's update together.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

import l2o
from l2o.inner.step import InnerState, inner_step
from l2o.models.resnet import ResNet
from l2o.tasks.classification import classification
from l2o.types import Batch, PyTree, Task

_ROUNDS = flags.DEFINE_integer('rounds', 30, 'Steps of each variant that are timed.')
_LEARNED = flags.DEFINE_string('learned', 'velo-quickstart', 'A file, or a name of l2o.zoo().')


def batches() -> tuple[Batch, Batch]:
  """Random images, for the gradient and for the comparison."""
  rng = np.random.default_rng(0)

  def draw() -> Batch:
    images = rng.integers(0, 256, (32, 32, 32, 3), np.uint8)
    return {'image': jnp.asarray(images), 'label': jnp.asarray(rng.integers(0, 10, 32), jnp.int32)}

  return draw(), draw()


def variants(params: PyTree) -> dict[str, optax.GradientTransformationExtraArgs]:
  """Name -> optimizer; `sgd` is about what a step costs without any."""
  learned = l2o.load(_LEARNED.value, params, num_steps=1000, on_mismatch='mean_embedding')
  adam = optax.with_extra_args_support(optax.adam(1e-3))
  return {
    'sgd': optax.with_extra_args_support(optax.sgd(1e-3)),
    'adam': adam,
    'learned': learned,
    'hub': l2o.hub(adam, learned),
    'lgl2o': l2o.lgl2o(adam, learned),
  }


def compile_step(task: Task, tx: Any, start: tuple) -> tuple[Callable[..., Any], list]:
  """A compiled step, and the state that it holds."""

  def step(state: InnerState, batch: Batch, fresh: Batch) -> InnerState:
    return inner_step(task, tx, state, jax.random.key(1), batch, lambda: fresh)[0]

  params, model_state = jax.tree.map(jnp.copy, start)
  return jax.jit(step, donate_argnums=0), [InnerState(params, model_state, tx.init(params))]


def main(_: Any) -> None:
  """Measures and prints the results."""
  model = ResNet(10, features=(16, 32, 64), blocks=1, stem_stride=2)
  task = classification(model, (32, 32, 3))
  start = jax.jit(task.init)(jax.random.key(0))
  batch, fresh = batches()
  steps = {name: compile_step(task, tx, start) for name, tx in variants(start[0]).items()}
  forward = jax.jit(
    lambda params, state, batch: task.loss(params, state, jax.random.key(1), batch)[0]
  )
  times: dict[str, list[float]] = {name: [] for name in (*steps, 'forward')}
  for _ in range(_ROUNDS.value + 1):  # the first compiles
    for name, (step, held) in steps.items():
      begun = time.perf_counter()
      held[0] = jax.block_until_ready(step(held[0], batch, fresh))
      times[name].append(time.perf_counter() - begun)
    begun = time.perf_counter()
    jax.block_until_ready(forward(*start, fresh))
    times['forward'].append(time.perf_counter() - begun)
  median = {name: 1e3 * float(np.median(values[1:])) for name, values in times.items()}
  print(f'{"variant":10} {"ms":>7} {"over learned":>13}')
  for name, value in median.items():
    print(f'{name:10} {value:7.2f} {value / median["learned"]:13.2f}')
  extra = median['forward'] + median['adam'] - median['sgd']
  print(f'lgl2o adds {(median["lgl2o"] - median["learned"]) / extra:.2f} of its budget')


if __name__ == '__main__':
  app.run(main)

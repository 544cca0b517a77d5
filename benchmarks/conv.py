"""The convolutions of l2o in and out of a loop, against flax's own, on a CPU or a GPU.

python -m benchmarks.conv [--network=resnet|efficientnet|resnet20] [--steps=20] [--mapped=0]

Prints the time of a training step (Adam, batch 32, 32x32 images) as ratios to flax's convolution
outside a loop: both sides alternate in one run, with donated state, and the best of several
repetitions counts. Networks: a batch-normalised ResNet-8 with stem stride 2, whose convolutions are
dense, EfficientNet-Lite0, half of whose convolutions are depthwise, and the CIFAR ResNet-20. With
--mapped=64 a step trains 64 networks at once, each on its own images, as in meta-training on a GPU.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from flax import linen as nn

from l2o.inner.step import InnerState, inner_step
from l2o.models import layers
from l2o.models.cifar_resnet import CifarResNet
from l2o.models.conv import Conv
from l2o.models.efficientnet_lite import EfficientNetLite0
from l2o.models.resnet import ResNet
from l2o.tasks.classification import classification

REPEATS = 5
NETWORKS: dict[str, Callable[[], nn.Module]] = {
  'resnet': lambda: ResNet(num_classes=10, stem_stride=2),
  'efficientnet': lambda: EfficientNetLite0(num_classes=10),
  'resnet20': lambda: CifarResNet(num_classes=10, depth=20),
}
_STEPS = flags.DEFINE_integer('steps', 20, 'Training steps of a repetition.')
_MAPPED = flags.DEFINE_integer('mapped', 0, 'Networks trained at once; 0 for one, not mapped.')
_NETWORK = flags.DEFINE_enum('network', 'resnet', list(NETWORKS), 'Which network to measure.')


def steps(conv: type[nn.Conv], looped: bool) -> Callable[[], None]:
  """A function that runs --steps training steps, in one compiled loop or one call each."""
  layers.Conv = conv  # the network looks it up when it is traced
  task = classification(NETWORKS[_NETWORK.value](), (32, 32, 3))
  tx = optax.with_extra_args_support(optax.adam(1e-3))
  lead = (_MAPPED.value,) if _MAPPED.value else ()
  rng = np.random.default_rng(0)
  batch = {
    'image': jnp.asarray(rng.integers(0, 256, (*lead, 32, 32, 32, 3)), jnp.uint8),
    'label': jnp.asarray(rng.integers(0, 10, (*lead, 32))),
  }

  def init(key: jax.Array) -> InnerState:
    params, model_state = task.init(key)
    return InnerState(params, model_state, tx.init(params))

  def once(state: InnerState, batch: Any) -> InnerState:
    return inner_step(task, tx, state, jax.random.key(0), batch)[0]

  if lead:
    init, once = jax.vmap(init), jax.vmap(once)
  held = [jax.jit(init)(jax.random.split(jax.random.key(0), lead))]

  def loop(state: InnerState, batch: Any) -> InnerState:
    return jax.lax.fori_loop(0, _STEPS.value, lambda _, s: once(s, batch), state)

  program = jax.jit(loop if looped else once, donate_argnums=0).lower(held[0], batch).compile()

  def run() -> None:
    for _ in range(1 if looped else _STEPS.value):
      held[0] = program(held[0], batch)
    jax.block_until_ready(held[0])

  return run


def main(_: Any) -> None:
  """Measures the four cases and prints them."""
  cases = {
    ('flax', 'outside'): steps(nn.Conv, looped=False),
    ('flax', 'in a loop'): steps(nn.Conv, looped=True),
    ('l2o', 'outside'): steps(Conv, looped=False),
    ('l2o', 'in a loop'): steps(Conv, looped=True),
  }
  best = dict.fromkeys(cases, float('inf'))
  for _ in range(REPEATS):
    for name, run in cases.items():
      begun = time.perf_counter()
      run()
      best[name] = min(best[name], (time.perf_counter() - begun) / _STEPS.value)
  base = best['flax', 'outside']
  print(f'{"convolution":12} {"where":10} {"ms a step":>10} {"ratio":>7}')
  for (conv, where), seconds in best.items():
    print(f'{conv:12} {where:10} {1e3 * seconds:10.1f} {seconds / base:7.2f}')


if __name__ == '__main__':
  app.run(main)

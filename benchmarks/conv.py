"""The canonical convolution in and out of a loop, against flax's own, on a CPU.

python -m benchmarks.conv [--network=resnet|efficientnet] [--steps=20]

Prints the time of a training step (Adam, batch 32, 32x32 images) as ratios to flax's convolution
outside of a loop; both sides in one run, alternating, with donated state, the best of several
repetitions. Networks: a batch-normalised ResNet-8 with stem stride 2, whose convolutions are dense,
and EfficientNet-Lite0, half of whose convolutions are depthwise.
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
from l2o.models.conv import Conv
from l2o.models.efficientnet_lite import EfficientNetLite0
from l2o.models.resnet import ResNet
from l2o.tasks.classification import classification

REPEATS = 5
NETWORKS: dict[str, Callable[[], nn.Module]] = {
  'resnet': lambda: ResNet(num_classes=10, stem_stride=2),
  'efficientnet': lambda: EfficientNetLite0(num_classes=10),
}
_STEPS = flags.DEFINE_integer('steps', 20, 'Training steps of a repetition.')
_NETWORK = flags.DEFINE_enum('network', 'resnet', list(NETWORKS), 'Which network to measure.')


def steps(conv: type[nn.Conv], looped: bool) -> Callable[[], None]:
  """A function that runs --steps training steps, in one compiled loop or one call each."""
  layers.Conv = conv  # the network looks it up when it is traced
  task = classification(NETWORKS[_NETWORK.value](), (32, 32, 3))
  tx = optax.with_extra_args_support(optax.adam(1e-3))
  rng = np.random.default_rng(0)
  batch = {
    'image': jnp.asarray(rng.integers(0, 256, (32, 32, 32, 3)), jnp.uint8),
    'label': jnp.asarray(rng.integers(0, 10, 32)),
  }
  params, model_state = task.init(jax.random.key(0))
  held = [InnerState(params, model_state, tx.init(params))]

  def once(state: InnerState, batch: Any) -> InnerState:
    return inner_step(task, tx, state, jax.random.key(0), batch)[0]

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
    ('canonical', 'outside'): steps(Conv, looped=False),
    ('canonical', 'in a loop'): steps(Conv, looped=True),
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

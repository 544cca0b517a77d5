"""What an update of VeLO costs on the parameters of a ResNet-34, against optax.adam.

python -m benchmarks.velo_cost [--rule=velo|celo]

110 tensors, 21.8 million parameters, random numbers in them; buffers are donated. Prints the time
of an update as a ratio to Adam's in the same run (best of several, alternating), the time to
compile, and, in multiples of the parameters' bytes, the temporaries and the optimizer's state.
"""

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

import l2o

REPEATS = 8
NUM_STEPS = 1000
_RULE = flags.DEFINE_enum('rule', 'velo', ['velo', 'celo'], 'Which rule to measure.')


def resnet34_shapes() -> Iterator[tuple[int, ...]]:
  """Kernels, each with the scale and the bias of its normalisation, and the head."""

  def conv(size: int, inputs: int, outputs: int) -> list[tuple[int, ...]]:
    return [(size, size, inputs, outputs), (outputs,), (outputs,)]

  yield from conv(7, 3, 64)
  inputs = 64
  for outputs, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
    for _ in range(blocks):
      yield from conv(3, inputs, outputs) + conv(3, outputs, outputs)
      if inputs != outputs:
        yield from conv(1, inputs, outputs)
      inputs = outputs
  yield from [(512, 1000), (1000,)]


def compiled_step(tx: Any, params: Any, grads: Any) -> tuple[Any, Any, float]:
  """A step as a compiled program, the state to start it from, and the seconds compiling took."""

  def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
    updates, state = tx.update(grads, state, params, value=jnp.float32(1.0))
    return optax.apply_updates(params, updates), state

  state = tx.init(params)
  lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, grads)
  begun = time.perf_counter()
  program = lowered.compile()
  return program, state, time.perf_counter() - begun


def num_bytes(tree: Any) -> int:
  """Bytes of all leaves."""
  return sum(x.nbytes for x in jax.tree.leaves(tree))


def main(_: Any) -> None:
  """Measures and prints."""
  rng = np.random.default_rng(0)
  shapes = list(resnet34_shapes())
  arrays = [jnp.asarray(rng.normal(0.0, 0.05, shape), jnp.float32) for shape in shapes]
  grads = [0.01 * x[..., ::-1] for x in arrays]
  rule = l2o.rule(_RULE.value)
  theta = rule.init(jax.random.key(0), arrays)
  transformations = {
    'adam': optax.with_extra_args_support(optax.adam(1e-3)),
    _RULE.value: rule.bind(theta, NUM_STEPS),
  }
  held, programs, best = {}, {}, dict.fromkeys(transformations, float('inf'))
  size = num_bytes(arrays)
  print(f'{len(arrays)} tensors, {size / 4e6:.1f} million parameters')
  for name, tx in transformations.items():
    params = jax.tree.map(jnp.copy, arrays)
    programs[name], state, seconds = compiled_step(tx, params, grads)
    held[name] = params, state
    memory = programs[name].memory_analysis()
    print(
      f'{name}: compiled in {seconds:.1f} s; program of {len(programs[name].as_text()) / 1e6:.1f} '
      f'million characters; temporaries {memory.temp_size_in_bytes / size:.1f} and state '
      f'{num_bytes(state) / size:.2f} times the parameters'
    )
  for _ in range(REPEATS):
    for name, program in programs.items():
      begun = time.perf_counter()
      held[name] = jax.block_until_ready(program(*held[name], grads))
      best[name] = min(best[name], time.perf_counter() - begun)
  for name, seconds in best.items():
    print(f'{name}: {1e3 * seconds:.1f} ms an update, {seconds / best["adam"]:.1f} times Adam')


if __name__ == '__main__':
  app.run(main)

"""Inner steps per second through NES with L3RS, against a plain training loop.

python -m benchmarks.meta_throughput [--network=mlp|resnet]

One generation (population 32, 4 tasks, K = 20, batch 32) for each way of running candidates and
tasks, as the ratio of its inner steps per second to those of a raw jitted loop of optax.adam steps
on one copy of the same network, data and devices. Both sides alternate in one run, and the best of
several repetitions counts; either may use all cores.
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
from l2o.estimators import strategy
from l2o.estimators.nes import nes
from l2o.inner.mapping import on_device
from l2o.inner.rollout import meta_loss, start_episodes
from l2o.inner.step import InnerState, fetch, inner_step
from l2o.models.mlp import MLP
from l2o.models.resnet import ResNet
from l2o.tasks.classification import classification
from l2o.types import Task, TaskBatch
from trainers.resources import meshes

POPULATION, TASKS, K, BATCH, EXAMPLES = 32, 4, 20, 32, 5_000
REPEATS = 3
NETWORKS = {
  'mlp': lambda: classification(MLP(5), (28, 28, 1)),
  'resnet': lambda: classification(ResNet(10, stem_stride=2), (32, 32, 3)),
}
SHAPES = {'mlp': (28, 28, 1), 'resnet': (32, 32, 3)}
LOOPS, MIXED, VECTORS = ('sequential',) * 2, ('sequential', 'vectorized'), ('vectorized',) * 2
WAYS = {  # on a CPU: (devices, how candidates and tasks run)
  'mlp': [(d, *way) for way in (LOOPS, MIXED, VECTORS) for d in (1, 2)],
  'resnet': [(1, *LOOPS), (2, *LOOPS)],  # vectorized convolutions are far too slow on a CPU
}
_NETWORK = flags.DEFINE_enum('network', 'mlp', list(NETWORKS), 'Which network to measure.')


def ways(network: str) -> list[tuple[int, str, str]]:
  """The ways for the devices at hand: (devices, how candidates run, how tasks run)."""
  if jax.default_backend() == 'cpu':
    return WAYS[network]
  return [(jax.device_count(), *way) for way in (LOOPS, MIXED, VECTORS)]


def raw_loop(task: Task, store: Any, drawn: Any) -> tuple[Callable[[], Any], int]:
  """K steps of optax.adam on one copy of the network, and the number of inner steps."""
  tx = optax.with_extra_args_support(optax.adam(1e-3))
  params, model_state = task.init(jax.random.key(0))
  batches = jax.tree.map(lambda x: x[0], drawn['train'])

  def loop(state: InnerState, store: Any, batches: Any) -> InnerState:
    def body(k: Any, state: InnerState) -> InnerState:
      batch = fetch(store, jax.tree.map(lambda x: x[k], batches))
      return inner_step(task, tx, state, jax.random.key(0), batch)[0]

    return jax.lax.fori_loop(0, K, body, state)

  program = jax.jit(loop, donate_argnums=0)
  held = [InnerState(params, model_state, tx.init(params))]

  def run() -> Any:
    held[0] = program(held[0], store, batches)
    return held[0]

  return run, K


def generation(
  task: Task, store: Any, drawn: Any, devices: int, candidates: str, tasks: str
) -> tuple[Callable[[], Any], int]:
  """One estimate of the meta-gradient, and its number of inner steps."""
  rule = l2o.rule('l3rs')
  mesh = meshes.make_mesh(population=devices)
  objective = meta_loss(rule, task, on_device(tasks))
  map_fn = meshes.sharded_map(mesh, on_device(candidates))
  estimator = strategy.estimator(nes(population=POPULATION), objective, map_fn)
  params, _ = task.init(jax.random.key(0))
  whole = meshes.replicated(mesh)
  theta = rule.init(jax.random.key(0), params)
  held = jax.device_put((theta, estimator.init(theta, jax.random.key(0))), whole)
  store, drawn = jax.device_put((store, drawn), whole)

  @jax.jit
  def estimate(theta: Any, state: Any, store: Any, drawn: Any, num_steps: jax.Array) -> Any:
    episodes = start_episodes(task, jax.random.key(1), None, drawn)
    data = {'train': store, 'evaluation': store}
    return estimator.estimate(theta, state, jax.random.key(2), TaskBatch(episodes, data, num_steps))

  return lambda: estimate(*held, store, drawn, jnp.int32(K)), POPULATION * TASKS * K


def main(_: Any) -> None:
  """Measures every way and prints the ratios."""
  meshes.set_cpu_devices(2)
  rng = np.random.default_rng(0)
  task, shape = NETWORKS[_NETWORK.value](), SHAPES[_NETWORK.value]
  store = {'image': jnp.asarray(rng.integers(0, 256, (EXAMPLES, *shape)), jnp.uint8)}
  sizes = {'train': (TASKS, K, BATCH), 'evaluation': (TASKS, 256)}
  drawn = {
    part: {
      'index': jnp.asarray(rng.integers(0, EXAMPLES, size), jnp.int32),
      'label': jnp.asarray(rng.integers(0, 5, size), jnp.int32),
    }
    for part, size in sizes.items()
  }
  runs = {'raw adam': raw_loop(task, store, drawn)}
  for way in ways(_NETWORK.value):
    runs['{} devices, {}, {}'.format(*way)] = generation(task, store, drawn, *way)
  best = dict.fromkeys(runs, 0.0)
  for run, _ in runs.values():
    jax.block_until_ready(run())  # compiles
  for _ in range(REPEATS):
    for name, (run, count) in runs.items():
      repeats = 20 if name == 'raw adam' else 1
      begun = time.perf_counter()
      for _ in range(repeats):
        done = run()
      jax.block_until_ready(done)
      best[name] = max(best[name], repeats * count / (time.perf_counter() - begun))
  print(f'{_NETWORK.value}: {"candidates, tasks":38} {"inner steps/s":>14} {"ratio":>6}')
  for name, rate in best.items():
    print(f'{_NETWORK.value}: {name:38} {rate:14.0f} {rate / best["raw adam"]:6.2f}')


if __name__ == '__main__':
  app.run(main)

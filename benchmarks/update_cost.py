"""The cost of one update on ResNet-34, as ratios to optax.adam: Table 1 of arXiv 2408.09310.

python -m benchmarks.update_cost [--rounds=20]

For each optimizer: the time to compute and apply an update (parameters and state donated, all
optimizers taking turns in one run, median over rounds), its state's bytes over the parameters', the
length of the compiled program's text, the bytes of its temporaries over the parameters', and the
compile time. Ratios of times are to optax.adam in the same run.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

import l2o
from l2o.models.resnet import ResNet
from l2o.types import Params, PyTree

_ROUNDS = flags.DEFINE_integer('rounds', 20, 'Updates of each optimizer that are timed.')
_ONLY = flags.DEFINE_list('only', [], 'Optimizers to measure beside adam; all if empty.')


class Update(NamedTuple):
  """A compiled update and the arrays that it holds."""

  program: Any
  held: list  # [(params, state)], replaced by every call: both are donated
  compile_secs: float

  def __call__(self, grads: PyTree) -> PyTree:
    """One update."""
    self.held[0] = self.program(*self.held[0], grads, jnp.float32(1.0))
    return self.held[0]


def resnet_34() -> Params:
  """The parameters of ResNet-34 with 1000 classes: 110 leaves, 21.8 million numbers."""
  model = ResNet(
    1000, features=(64, 128, 256, 512), blocks=(3, 4, 6, 3), stem=7, stem_stride=2, stem_pool=True
  )
  init = jax.jit(lambda key: model.init(key, jnp.zeros((1, 64, 64, 3)), False)['params'])
  return init(jax.random.key(0))


def optimizers(params: Params) -> dict[str, Callable[[], optax.GradientTransformation]]:
  """Name -> the optimizer, bound for 1000 steps."""

  def learned(name: str, **kwargs: Any) -> Callable[[], optax.GradientTransformation]:
    rule = l2o.rule(name, **kwargs)
    return lambda: rule.bind(rule.init(jax.random.key(1), params), 1000)

  return {
    'adam': lambda: optax.adam(1e-3),
    'sgd': lambda: optax.sgd(1e-3),
    'lamb': lambda: optax.lamb(1e-3),
    'l3rs': learned('l3rs'),
    'velo': learned('velo'),
    'celo': learned('celo'),
    'celo2': learned('celo2'),
    'celo2_base': learned('celo2_base'),
    'mlp_lopt': learned('mlp_lopt'),
    'adafac_mlp_lopt': learned('adafac_mlp_lopt'),
  }


def compile_update(tx: optax.GradientTransformation, params: Params, grads: PyTree) -> Update:
  """Compiles the update and its application together, as in a training step."""
  tx = optax.with_extra_args_support(tx)

  def update(params: Params, state: PyTree, grads: PyTree, loss: jax.Array) -> tuple:
    updates, state = tx.update(grads, state, params, value=loss)
    return optax.apply_updates(params, updates), state

  held = jax.tree.map(jnp.copy, params), jax.jit(tx.init)(params)
  lowered = jax.jit(update, donate_argnums=(0, 1)).lower(*held, grads, jnp.float32(1.0))
  begun = time.perf_counter()
  program = lowered.compile()
  return Update(program, [held], time.perf_counter() - begun)


def size(tree: PyTree) -> int:
  """The bytes of all leaves."""
  return sum(x.nbytes for x in jax.tree.leaves(tree))


def main(_: Any) -> None:
  """Measures and prints the table."""
  params = resnet_34()
  leaves, structure = jax.tree.flatten(params)
  rng = np.random.default_rng(0)
  grads = jax.tree.unflatten(
    structure, [jnp.asarray(rng.normal(0.0, 0.01, x.shape), jnp.float32) for x in leaves]
  )
  chosen = {
    name: make for name, make in optimizers(params).items()
    if name == 'adam' or not _ONLY.value or name in _ONLY.value
  }  # fmt: skip
  updates = {name: compile_update(make(), params, grads) for name, make in chosen.items()}
  for update in updates.values():
    jax.block_until_ready(update(grads))
  times: dict[str, list[float]] = {name: [] for name in updates}
  for _ in range(_ROUNDS.value):
    for name, update in updates.items():
      begun = time.perf_counter()
      jax.block_until_ready(update(grads))
      times[name].append(time.perf_counter() - begun)
  print(f'{len(leaves)} tensors, {size(params) / 1e6:.1f} MB of parameters')
  print(f'{"optimizer":15} {"ms":>7} {"x adam":>7} {"state":>6} {"program":>8} {"temp":>6} compile')
  base, text = float(np.median(times['adam'])), len(updates['adam'].program.as_text())
  for name, update in updates.items():
    median = float(np.median(times[name]))
    temporary = update.program.memory_analysis().temp_size_in_bytes / size(params)
    print(
      f'{name:15} {1e3 * median:7.1f} {median / base:7.2f} '
      f'{size(update.held[0][1]) / size(params):6.2f} '
      f'{len(update.program.as_text()) / text:8.2f} {temporary:6.2f} {update.compile_secs:5.1f} s'
    )


if __name__ == '__main__':
  app.run(main)

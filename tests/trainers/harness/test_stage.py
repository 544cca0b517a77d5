"""The code around a stage's step."""

import jax
import jax.numpy as jnp

from trainers.harness import stage
from trainers.harness.folder import Folder

OPTIONS = stage.Options(log_every_secs=60.0, checkpoint_every_secs=0.0, keep_checkpoints=2)


@jax.jit
def step(state, number):
  return {'x': state['x'] + number}, {'loss': jnp.sum(state['x'])}


def run(folder, state, stop):
  return stage.run(
    step, state, feed=float, stop=stop, check=lambda done, metrics: None, log_every=1,
    unit='step', folder=Folder(folder), options=OPTIONS,
  )  # fmt: skip


def test_a_resumed_run_does_not_keep_its_initial_state(tmp_path):
  run(tmp_path, {'x': jnp.ones(3)}, stop=2)
  again = {'x': jnp.ones(3)}
  resumed = run(tmp_path, again, stop=4)
  assert again['x'].is_deleted()
  assert resumed['x'].tolist() == [1.0 + 0 + 1 + 2 + 3] * 3

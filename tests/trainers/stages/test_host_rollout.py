"""Images fed by the host, chunk by chunk, lead to the same end as images on the device."""

import json

import jax
import numpy as np
import pytest

import l2o
from l2o.errors import InputError
from l2o.estimators import strategy
from tests.tiny_run import execute, tiny
from trainers.jobs import pipeline
from trainers.stages import estimation


def test_a_run_fed_by_the_host_ends_as_one_with_its_images_on_the_device(tmp_path):
  """Chunks of 2 of up to 5 steps and 2 of 3 tasks at a time, so that neither comes out even."""
  ends = {}
  for chunk_steps in (0, 2):
    config = tiny(**{'feed.chunk_steps': chunk_steps, 'feed.tasks_at_once': 2})
    folder = execute(config, tmp_path / str(chunk_steps))
    rows = json.loads((folder / 'results.json').read_text())
    ends[chunk_steps] = l2o.read(folder / 'optimizer.safetensors').theta, rows, folder
  (theta, rows, there), (fed_theta, fed_rows, fed_there) = ends.values()
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), fed_theta, theta)
  for row, fed_row in zip(rows, fed_rows, strict=True):
    assert fed_row['accuracy_mean'] == pytest.approx(row['accuracy_mean'], abs=1e-6)
    assert fed_row['loss_mean'] == pytest.approx(row['loss_mean'], rel=1e-5)
  paths = [folder / 'meta_evaluate' / 'trace.npz' for folder in (there, fed_there)]
  with np.load(paths[0]) as trace, np.load(paths[1]) as fed_trace:
    np.testing.assert_allclose(trace['lambda'], fed_trace['lambda'], rtol=1e-4)


def test_an_estimator_in_one_piece_cannot_be_fed(monkeypatch):
  build = estimation.build_from
  monkeypatch.setattr(
    estimation,
    'build_from',
    lambda *args, **deps: strategy.estimator(build(*args, **deps), deps['meta_loss']),
  )
  with pytest.raises(InputError, match=r'nes has no ask and tell.*chunk_steps = 0'):
    pipeline.build(tiny(**{'feed.chunk_steps': 2}))

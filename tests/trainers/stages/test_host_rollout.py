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


def test_a_run_fed_by_the_host_ends_as_one_with_its_images_on_the_device(finished, tmp_path):
  """Chunks of 2 of up to 5 steps and 2 of 3 tasks at a time, so that neither comes out even."""
  config = tiny(**{'feed.chunk_steps': 2, 'feed.tasks_at_once': 2})
  fed = execute(config, tmp_path / 'fed', drawn=False)
  theta, fed_theta = (l2o.read(run / 'optimizer.safetensors').theta for run in (finished, fed))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), fed_theta, theta)
  rows, fed_rows = (json.loads((run / 'results.json').read_text()) for run in (finished, fed))
  for row, fed_row in zip(rows, fed_rows, strict=True):
    assert fed_row['accuracy_mean'] == pytest.approx(row['accuracy_mean'], abs=1e-6)
    assert fed_row['loss_mean'] == pytest.approx(row['loss_mean'], rel=1e-5)
  paths = [run / 'meta_evaluate' / 'trace.npz' for run in (finished, fed)]
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

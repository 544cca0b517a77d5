"""Images fed by the host, chunk by chunk, lead to the same end as images on the device."""

import json
from multiprocessing.pool import ThreadPool

import jax
import numpy as np
import pytest

import datasets
import l2o
from datasets import prefetch
from l2o.errors import InputError
from l2o.estimators import strategy
from tests.tiny_run import execute, tiny
from trainers.jobs import pipeline
from trainers.stages import meta_training


@pytest.fixture(scope='module')
def source():
  return datasets.load({'name': 'glyphs', 'per_font': 2}, 'train')


def drawn(source, rng, b=2, steps=7, batch=3):
  index = rng.integers(0, len(source), (b, steps, batch))
  return {'index': index, 'label': index % 5}


@pytest.mark.parametrize(('num_steps', 'chunk_steps'), [(7, 3), (6, 3), (1, 4), (7, 7)])
def test_chunks_are_the_steps_in_order(source, rng, num_steps, chunk_steps):
  draw = drawn(source, rng)
  seen = list(prefetch.chunks(source, draw, num_steps, chunk_steps, threads=3))
  assert [first for first, _ in seen] == list(range(0, num_steps, chunk_steps))
  assert {chunk['image'].shape for _, chunk in seen} == {
    (chunk_steps, 2, 3, *source.image_shape)
  }  # one shape, one program
  images = np.concatenate([chunk['image'] for _, chunk in seen])[:num_steps]
  labels = np.concatenate([chunk['label'] for _, chunk in seen])[:num_steps]
  for step in range(num_steps):
    expected = source.arrays()['image'][draw['index'][:, step]]
    np.testing.assert_array_equal(images[step], expected)
    np.testing.assert_array_equal(labels[step], draw['label'][:, step])


class Broken:
  """A source one image of which cannot be read."""

  def __init__(self, source, index):
    self.source, self.index = source, index

  def __getitem__(self, i):
    if i == self.index:
      raise OSError('shard 3 is cut short')
    return self.source[i]


def test_a_reader_that_fails_within_a_chunk_ends_the_run_with_its_own_error(source, rng):
  draw = drawn(source, rng)
  draw['index'] += draw['index'] == 5
  draw['index'][1, 3, 2] = 5  # of step 3, in the middle of the second chunk
  chunks = prefetch.chunks(Broken(source, 5), draw, 7, 3, threads=3)
  seen = []
  # In a thread of its own: one that waits for ever would not end the test.
  with ThreadPool(1) as pool, pytest.raises(OSError, match='shard 3 is cut short'):
    pool.apply_async(lambda: seen.extend(first for first, _ in chunks)).get(timeout=60)
  assert seen == [0]


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
  build = meta_training.build_from
  monkeypatch.setattr(
    meta_training,
    'build_from',
    lambda *args, **deps: strategy.estimator(build(*args, **deps), deps['meta_loss']),
  )
  with pytest.raises(InputError, match=r'nes has no ask and tell.*chunk_steps = 0'):
    pipeline.build(tiny(**{'feed.chunk_steps': 2}))

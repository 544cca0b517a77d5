"""Jobs, pretraining and episodes whose images the host reads and transforms."""

from functools import partial

import numpy as np
import pytest
import safetensors.numpy

from checkpoints import Checkpoints
from configs import common
from l2o.errors import InputError
from reports import records
from tests.tiny_run import SGD, KilledError, execute, tiny
from trainers.harness import stage
from trainers.harness.folder import MODEL, RECORDS
from trainers.jobs import pipeline, training_job

AUGMENT = [{'name': 'random_crop', 'size': 28, 'padding': 4}, {'name': 'flip'}]
FED = {'feed.chunk_steps': 2, 'feed.threads': 2}
run = partial(execute, drawn=False)


def job(**diff):
  c = common.train_base()
  c.batch_source = {
    'name': 'images', 'source': {'name': 'digits'}, 'split': {'old': 6, 'new': 4},
    'classes': 'new', 'batch_size': 6, 'num_evaluated': 40,
  }  # fmt: skip
  c.model = {'name': 'mlp', 'num_classes': 4, 'features': (8,)}
  c.task = {'name': 'classification'}
  c.rule = dict(SGD)
  c.train.update(num_steps=6, log_every=1, eval_every=3)
  return common.with_diff(common.freeze(c), diff)


def ended(folder):
  parameters = safetensors.numpy.load_file(folder / MODEL)
  return {name: x.tolist() for name, x in parameters.items()}, (folder / RECORDS).read_bytes()


@pytest.fixture(scope='module')
def augmented(tmp_path_factory):
  folder = tmp_path_factory.mktemp('runs') / 'augmented'
  return run(job(**FED, **{'feed.train': AUGMENT}), folder)


def test_a_job_fed_by_the_host_ends_as_one_with_its_images_in_memory(tmp_path):
  memory, fed = run(job(), tmp_path / 'memory'), run(job(**FED), tmp_path / 'fed')
  assert ended(fed) == ended(memory)


def test_worker_processes_change_nothing_and_transforms_do(augmented, tmp_path):
  working = {**FED, 'feed.workers': 2, 'feed.train': AUGMENT}
  assert ended(run(job(**working), tmp_path / 'workers')) == ended(augmented)
  assert ended(run(job(**FED), tmp_path / 'plain'))[0] != ended(augmented)[0]


class Killed(Checkpoints):
  """Checkpoints of a run that is killed when it has saved step 4."""

  def save(self, step, state):
    super().save(step, state)
    if step == 4:
      raise KilledError


def test_a_killed_job_resumes_with_the_same_transforms(augmented, tmp_path, monkeypatch):
  settings = {**FED, 'feed.train': AUGMENT, 'checkpoint_every_secs': 0.0}
  config, folder = job(**settings), tmp_path / 'run'
  other = job(**settings, **{'feed.workers': 1})  # others may read the rest
  monkeypatch.setattr(stage, 'Checkpoints', Killed)
  with pytest.raises(KilledError):
    run(config, folder)
  monkeypatch.undo()
  assert ended(run(other, folder)) == ended(augmented)


@pytest.mark.slow  # the tests around it run each of its parts
def test_all_optimizers_see_the_same_transformed_images_in_every_stage(tmp_path):
  """Two rows that are the same optimizer end alike, whoever reads and however many at once."""
  rows = {name: {'rule': SGD, 'learning_rates': ()} for name in ('one', 'other')}
  ends = []
  for name, more in (
    ('threads', {'feed.tasks_at_once': 2}),
    ('processes', {'feed.tasks_at_once': 3, 'feed.workers': 1}),
  ):
    settings = {**FED, **more, 'feed.train': AUGMENT, 'meta_evaluate.baselines': rows}
    settings |= {'meta_evaluate.num_steps': [3], 'rule': SGD}
    folder = run(tiny(**settings), tmp_path / name)
    table = records.read(folder / RECORDS, '').query("measure == 'loss'")
    losses = table.pivot(index=['K', 'task'], columns='optimizer', values='value')
    np.testing.assert_array_equal(losses['one'], losses['other'])
    ends.append(losses)
  np.testing.assert_allclose(*ends, rtol=1e-5)


def test_an_optimizer_is_evaluated_on_what_the_host_feeds_without_meta_training(tmp_path):
  few = {'meta_train.num_generations': 0, 'meta_evaluate.num_steps': [2]}
  config = tiny(**FED, **few, rule=SGD)
  folder = run(config, tmp_path / 'run')
  assert set(records.read(folder / RECORDS, '')['K']) == {2}


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'feed.train': AUGMENT}, 'feed.train is for images that the host feeds: set feed.chunk_steps'),
    ({**FED, 'feed.train': ({'name': 'flop'},)}, r"feed\.train\[0\].*no transform 'flop'"),
    (
      {**FED, 'feed.evaluation': ({'name': 'resize', 'size': 20}, {'name': 'flip'})},
      r'feed\.evaluation\[1\]: flip draws at random.* choose from centre_crop, resize',
    ),
    (
      {**FED, 'feed.train': ({'name': 'centre_crop', 'size': 20},)},
      r'feed.train gives images of \(20, 20, 1\), feed.evaluation of \(28, 28, 1\)',
    ),
  ],
)
def test_a_feed_that_does_not_fit_is_refused(changes, says):
  with pytest.raises(InputError, match=says):
    pipeline.build(tiny(**changes))


def test_what_is_not_an_image_is_not_fed():
  changes = {**FED, 'batch_source': {'name': 'sines'}, 'task': {'name': 'regression'}}
  with pytest.raises(InputError, match=r"feed.chunk_steps must be 0 for 'sines'"):
    training_job.build(job(**changes, model={'name': 'lstm', 'num_outputs': 1, 'features': 4}))

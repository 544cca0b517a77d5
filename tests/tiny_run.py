"""The quickstart made tiny, for tests of the whole pipeline."""

import contextlib
from unittest import mock

from configs import common, quickstart
from trainers import run
from trainers.harness.folder import Folder
from trainers.jobs import shown


class KilledError(Exception):
  """In place of a kill, in the test's own process: what is being saved is finished first.

  It is not at a KeyboardInterrupt, whose saving thread would run into the run that resumes.
  """


def tiny(**overrides):
  """The smoke variant with one hidden layer, one small data set and one family of baselines."""
  c = quickstart.get_config('smoke')
  c.sources = {'glyphs': {'name': 'glyphs', 'seed': 0, 'per_font': 1}}
  c.model.features = (8,)
  c.episodes.eval_size = 32
  c.pretrain.update(num_steps=6, log_every=2)
  c.meta_evaluate.experiments = {'A': {'source': 'glyphs', 'classes': 'meta_test', 'start': 'main'}}
  baselines = c.meta_evaluate.baselines
  c.meta_evaluate.baselines = {'sgd_constant': baselines['sgd_constant'].to_dict()}
  with c.unlocked():
    c.update_from_flattened_dict(overrides)
  return common.freeze(c)


CONFIG = tiny(checkpoint_every_secs=0.0)  # of the run that the fixture `finished` leaves

# A rule of one meta-parameter, where the rule is not what is tested: its programs compile faster.
SGD = {'name': 'hand_designed', 'optimizer': 'sgd', 'learning_rate': 0.3}


def execute(config, folder, drawn=True):
  """The folder of a run; not `drawn` where a test looks at numbers: figures take a third of it."""
  with contextlib.ExitStack() as without:
    if not drawn:
      without.enter_context(mock.patch.object(Folder, 'write_figures'))
      without.enter_context(mock.patch.object(shown, 'ended'))
    run.run(config, folder, default=config, overrides={})
  return folder


def tiny_job(**diff):
  """A training job of six steps; an evaluation after three finds its best model."""
  c = common.train_base()
  c.task = {'name': 'function', 'dimension': 2, 'slope': 1.0, 'spread': 3.0}
  c.rule = dict(SGD)
  c.train.update(num_steps=6, log_every=2, eval_every=3)
  return common.with_diff(common.freeze(c), diff)

"""The quickstart made tiny, for tests of the whole pipeline."""

from configs import common, quickstart
from trainers import run


def tiny(**overrides):
  """The smoke variant with one data set and one family of baselines."""
  c = quickstart.get_config('smoke')
  c.sources = {'glyphs': {'name': 'glyphs', 'seed': 0, 'per_font': 4}}
  c.meta_evaluate.experiments = {'A': {'source': 'glyphs', 'classes': 'meta_test', 'start': 'main'}}
  baselines = c.meta_evaluate.baselines
  c.meta_evaluate.baselines = {'sgd_constant': baselines['sgd_constant'].to_dict()}
  with c.unlocked():
    c.update_from_flattened_dict(overrides)
  return common.freeze(c)


def execute(config, folder):
  run.run(config, folder, default=config, overrides={})
  return folder

"""Any config with one key that is wrong, odd or missing builds, or is refused in one sentence."""

import functools
import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import datasets
from configs import common
from l2o.errors import InputError
from tests.configs.test_configs import FILES, load
from trainers import run
from trainers.checks import blocks
from trainers.harness.folder import Folder

DELETED, MISSPELT = 'deleted', 'misspelt'
VALUES = [None, -3, 0, 2, 1.5, 1e30, True, 'x', '', [], [0], ['x', 'x'], {}, {'name': 'x'}]
GLYPHS = {'name': 'glyphs', 'per_font': 1, 'seed': 0}
CLASSES = {'pretrain': 30, 'meta_train': 15, 'meta_test': 16}
SMALL = {  # in the place of data that a machine may lack, and of networks that take long to trace
  'batch_source': {
    'images': {
      'source': {'name': 'digits'}, 'split': {'pretrain': 5, 'finetune': 5}, 'classes': 'finetune',
    },
    'lane_keeping': {'name': 'sines', 'num_steps': 6, 'batch_size': 4},
  },
  'model': {
    'resnet': {'name': 'mlp', 'num_classes': 5, 'features': [4]},
    'lane_keeping': {'name': 'lstm', 'num_outputs': 1, 'features': 4},
    'xception': {'name': 'mlp', 'num_classes': 5, 'features': [4]},
  },
}  # fmt: skip


@pytest.fixture(scope='module', autouse=True)
def read_once():
  """Each data set is read once; one that cannot be read is refused each time."""
  load_anew, found = datasets.load, {}

  def read(spec, split):
    key = json.dumps([spec, split], sort_keys=True, default=repr)
    if key not in found:
      found[key] = load_anew(spec, split)
    return found[key]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(datasets, 'load', read)
    yield


@functools.cache
def base(path):
  """The smoke variant of a config, without its sweep, on small data."""
  config = load(path, 'smoke') | {'sweep': [], 'first': []}
  if config['task']['name'] == 'language_model':  # its texts are small, and on every machine
    return config
  if 'sources' in config:
    config['sources'] = {name: dict(GLYPHS) for name in config['sources']}
    config['class_split'] = {name: dict(CLASSES) for name in config['class_split']}
    config['episodes'] = {'num_ways': 5, 'batch_size': 4, 'eval_size': 16}
    config['model'] = {'name': 'mlp', 'features': [4, 4]}
    for name, start in config['pretrain']['starts'].items():
      if 'weights' in start:  # and what they expect of images: an MLP has none
        source = config['meta_train']['source']
        config['pretrain']['starts'][name] = {'source': source, 'classes': 'pretrain', 'number': 0}
        config['task'] = {'name': 'classification'}
    if config['rule']['name'] == 'artifact':
      config['rule'] = {'name': 'artifact', 'path': 'l3rs-quickstart'}
    config['meta_evaluate']['allow_seen_classes'] = True  # all sources are one now
    return config
  batch_source = SMALL['batch_source'].get(config['batch_source']['name'], {})
  config['batch_source'] = (
    batch_source if 'name' in batch_source else config['batch_source'] | batch_source
  )
  config['model'] = SMALL['model'].get(config['model'].get('name'), config['model'])
  return config


def keys(config):
  """Every key of a config, dotted; blocks too."""
  for key in common.flatten(config):
    parts = key.split('.')
    yield from ('.'.join(parts[:n]) for n in range(1, len(parts) + 1))


def changed(config, path, change):
  """The config with one key deleted, misspelt or set."""
  key, *rest = path
  if rest:
    return config | {key: changed(config[key], rest, change)}
  if change is DELETED:
    return {k: v for k, v in config.items() if k != key}
  if change is MISSPELT:
    return {f'{k}z' if k == key else k: v for k, v in config.items()}
  return config | {key: change}


def written(value):
  """A value as a sentence may quote it: whole, or what it holds."""
  if isinstance(value, dict):
    value = [*value.values()]
  return [repr(item) for item in value] if isinstance(value, list) else [repr(value)]


@st.composite
def overrides(draw):
  path = draw(st.sampled_from(FILES))
  key = draw(st.sampled_from(sorted(set(keys(base(path))))))
  return path, key, draw(st.sampled_from([DELETED, MISSPELT, *VALUES]))


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_it_builds_without_an_override(path, tmp_path):
  run.build(base(path), Folder(tmp_path))


@settings(
  max_examples=300,
  deadline=None,
  derandomize=True,
  database=None,
  phases=[Phase.generate],
  suppress_health_check=list(HealthCheck),
)
@given(overrides())
def test_it_builds_or_a_sentence_names_the_key(tmp_path_factory, override):
  path, key, change = override
  config = changed(base(path), key.split('.'), change)
  try:
    blocks.typed(config)
    run.build(config, Folder(tmp_path_factory.getbasetemp() / 'no'))
  except InputError as error:
    said = str(error)
    assert '\n' not in said
    assert any(name in said for name in (*key.split('.'), *written(change))), said

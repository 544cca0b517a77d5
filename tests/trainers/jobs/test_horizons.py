"""Rows with more steps than their optimizer was meta-trained for, in this run or before."""

import json

import jax
import pytest

import l2o
from tests.tiny_run import SGD, execute, tiny
from trainers.jobs import pipeline

TRAINED = {'num_generations': 3, 'max_steps': 5}
CARDS = {
  'long': {'config': {'meta_train': TRAINED}},
  'short': {'config': {'meta_train': TRAINED | {'max_steps': 3}}},
  'never': {'config': {'meta_train': TRAINED | {'num_generations': 0}}},
  'odd': {'config': {'meta_train': TRAINED | {'max_steps': 'many'}}},
  'bare': {},
}


@pytest.fixture(scope='module')
def told(tmp_path_factory):
  """Rules from files that differ in what their card has of meta-training."""
  folder, params = tmp_path_factory.mktemp('told'), pipeline.build(tiny()).params
  theta = l2o.rule(**SGD).init(jax.random.key(0), params)
  paths = {name: folder / f'{name}.safetensors' for name in CARDS}
  for name, path in paths.items():
    l2o.save(path, theta, params, SGD, CARDS[name])
  return {name: {'name': 'artifact', 'path': str(path)} for name, path in paths.items()}


def test_rows_beyond_the_horizon_of_meta_training_are_marked(told, tmp_path, capsys):
  config = tiny(rule=SGD, **{'meta_evaluate.num_steps': (3, 5, 6), 'log_every_secs': 1e-6})
  for name in ('short', 'bare'):
    config['meta_evaluate']['baselines'][f'from {name}'] = {'rule': told[name]}
  folder = execute(config, tmp_path / 'run', drawn=False)
  rows = json.loads((folder / 'results.json').read_text())
  beyond = {(row['optimizer'], row['num_steps']) for row in rows if 'beyond_horizon' in row}
  # The run's own is meta-trained with K up to 5.
  assert beyond == {('hand_designed', 6), ('from short', 5), ('from short', 6)}
  assert '6†' in (folder / 'table.txt').read_text()
  lines = [line for line in capsys.readouterr().out.splitlines() if ', ETA ' in line]
  of_the_run = {line.partition(' ')[0] for line in lines if 'of the whole run about' in line}
  assert of_the_run == {'[pretrain]', '[meta_train]'}  # nothing follows the evaluation


@pytest.mark.parametrize(
  ('name', 'generations', 'expected'),
  [
    ('long', 0, 5), ('short', 0, 3), ('never', 0, None), ('odd', 0, None), ('bare', 0, None),
    ('short', 3, 5), ('bare', 3, 5),
  ],
)  # fmt: skip
def test_an_optimizer_from_a_file_has_the_horizon_of_its_card(told, name, generations, expected):
  config = tiny(**{'meta_train.num_generations': generations, 'rule': told[name]})
  assert pipeline.build(config).horizons.get(name) == expected


def test_of_two_files_in_one_optimizer_the_shorter_horizon_counts(told):
  both = {'name': 'hub', 'hand_designed': told['long'], 'learned': told['short']}
  config = tiny(**{'meta_evaluate.baselines': {'both': {'rule': both}}})
  assert pipeline.build(config).horizons == {'l3rs': 5, 'both': 3}

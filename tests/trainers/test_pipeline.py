"""The main job, small: its stages agree, repeat themselves bit for bit, and stop when they must."""

import json
import pathlib

import numpy as np
import pytest

from configs import common, quickstart
from l2o.errors import InputError, RunError
from trainers import pipeline, run
from trainers.meta_train import draw


def tiny(**overrides):
  """The smoke variant with one data set and one family of baselines."""
  c = quickstart.get_config('smoke')
  c.sources = {'glyphs': {'name': 'glyphs', 'seed': 0, 'per_font': 4}}
  c.meta_evaluate.experiments = {'A': {'source': 'glyphs', 'classes': 'meta_test'}}
  baselines = c.meta_evaluate.baselines
  c.meta_evaluate.baselines = {'sgd constant': baselines['sgd constant'].to_dict()}
  with c.unlocked():
    c.update_from_flattened_dict(overrides)
  return common.freeze(c)


def execute(config, folder):
  run.run(config, folder, default=config, overrides={})
  return folder


def files(folder):
  """Every array and number a run left that must repeat."""
  found = {'results': json.loads((folder / 'results.json').read_text())}
  for stage in ('pretrain', 'meta_train'):
    found[stage] = (folder / stage / 'metrics.jsonl').read_text()
  for name in ('outcomes', 'trace'):
    with np.load(folder / 'meta_evaluate' / f'{name}.npz') as arrays:
      found |= {f'{name}/{key}': arrays[key].tolist() for key in arrays}
  return found


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  return execute(tiny(), tmp_path_factory.mktemp('runs') / 'first')


def test_the_same_seed_gives_the_same_run_bit_for_bit(finished, tmp_path):
  again = files(execute(tiny(), tmp_path / 'second'))
  assert again == files(finished)
  assert any(key.endswith('accuracy') for key in again)


def test_a_workdir_without_its_later_stages_goes_on_to_the_same_end(finished, tmp_path):
  """What a run leaves when it is ended after pretraining."""
  import shutil

  folder = tmp_path / 'resumed'
  shutil.copytree(finished, folder)
  shutil.rmtree(folder / 'meta_train')
  shutil.rmtree(folder / 'meta_evaluate')
  (folder / 'results.json').unlink()
  assert files(execute(tiny(), folder)) == files(finished)


def test_results_have_a_row_for_every_optimizer_and_horizon(finished):
  rows = json.loads((finished / 'results.json').read_text())
  seen = [(r['experiment'], r['optimizer'], r['num_steps']) for r in rows]
  optimizers = ['l3rs', 'sgd constant 0.1', 'sgd constant 0.01']
  assert sorted(seen) == sorted(('A', name, steps) for name in optimizers for steps in (2, 5))
  with np.load(finished / 'meta_evaluate' / 'outcomes.npz') as outcomes:
    for row in rows:
      values = outcomes[f'A/{row["optimizer"]}/{row["num_steps"]}/accuracy']
      np.testing.assert_allclose(row['accuracy_mean'], values.mean())
      np.testing.assert_allclose(row['accuracy_std'], values.std())
      assert row['tasks'] == len(values) == 3
      assert row['hand_designed'] == ('l3rs' not in row['optimizer'])


def test_a_run_leaves_what_it_is_and_what_it_did(finished):
  for name in (
    'config.json', 'overrides.json', 'diff.txt', 'versions.json', 'table.txt',
    'pretrain/parameters.txt', 'meta_train/parameters.txt', 'meta_train/metrics.jsonl',
    'figures/accuracy.png', 'figures/speedup.png', 'figures/meta_training.png',
    'figures/mixture.png',
  ):  # fmt: skip
    assert (finished / name).stat().st_size > 0, name
  assert list((finished / 'meta_train').glob('events.out.tfevents.*'))


def test_a_trace_holds_the_mixture_of_every_step_and_layer(finished):
  with np.load(finished / 'meta_evaluate' / 'trace.npz') as trace:
    assert trace['mu'].shape == (2, 5, 6, 2)
    np.testing.assert_allclose(trace['mu'].sum(axis=-1), 1.0, rtol=1e-5)
    assert np.all(trace['lambda'] > 0)
    assert trace['layers'][-1] == 'head/kernel'


def test_a_finished_run_says_so_and_computes_nothing(finished, capsys, monkeypatch):
  monkeypatch.setattr(pipeline, 'run', None)
  execute(tiny(), finished)
  assert 'holds this run, finished' in capsys.readouterr().out


def test_another_seed_is_another_run():
  a, b = pipeline.build(tiny()), pipeline.build(tiny(seed=1))
  draws = [draw(plan.meta_train, 0)[0]['train']['index'] for plan in (a, b)]
  assert np.any(draws[0] != draws[1])


def test_horizons_are_drawn_between_their_bounds():
  plan = pipeline.build(tiny()).meta_train
  horizons = {int(draw(plan, g)[1]) for g in range(100)}
  assert horizons == {1, 2, 3, 4, 5}


def test_no_finite_candidate_stops_the_run_with_the_generation(tmp_path):
  config = tiny()
  config['rule'] = config['rule'] | {'log_step_norm': 200.0}  # exp(200) overflows
  with pytest.raises(RunError, match='no candidate of generation 1 ended with a finite loss'):
    execute(config, tmp_path / 'lost')


def test_a_loss_that_is_not_finite_stops_pretraining(tmp_path):
  config = tiny(**{'pretrain.learning_rate': 1e30})
  with pytest.raises(RunError, match=r'pretraining: the loss of step .* is not finite'):
    execute(config, tmp_path / 'lost')


@pytest.mark.parametrize(
  ('key', 'value', 'says'),
  [
    ('estimator.population', 31, 'population must be even and at least 2, not 31'),
    ('class_split.pretrain', 40, 'class_split asks for 71 classes'),
    ('meta_train.min_steps', 0, 'meta_train needs 1 <= min_steps <= max_steps, not 0'),
    ('meta_evaluate.num_steps', (10, 0), 'must all be at least 1'),
    ('meta_evaluate.num_tasks', 0, 'meta_evaluate.num_tasks must be at least 1'),
    ('meta_train.num_generations', 0, 'meta_train.num_generations must be at least 1'),
    ('model.name', 'resnet', "no model 'resnet'; choose from mlp"),
    ('rule.name', 'velo', "no rule 'velo'; choose from hand_designed, l3rs"),
    ('rule.directions', ('sgd', 'adan'), "no direction 'adan'"),
    ('sources.glyphs.name', 'idx', "'idx' needs a folder|has no"),
    ('source', 'mnist', "no source 'mnist'; choose from glyphs"),
    ('meta_evaluate.experiments.A.classes', 'test', "'test'.*choose from all, meta_test"),
    ('meta_train.mesh.population', 99, 'needs more than the'),
    ('meta_train.mapping', 'parallel', 'choose from auto, sequential, vectorized'),
    ('meta_evaluate.baselines.sgd constant.schedule', 'linear', "no schedule 'linear'"),
    ('pretrain.num_steps', 0, 'pretrain.num_steps'),
    ('tasks.num_ways', 16, 'tasks.num_ways must be 2 to 15'),
  ],
)
def test_bad_input_is_refused_before_anything_is_written(key, value, says, tmp_path):
  config = tiny()
  block = config
  *path, last = key.split('.')
  for part in path:
    block = block[part]
  assert last in block
  block[last] = value
  with pytest.raises(InputError, match=says):
    execute(config, tmp_path / 'run')
  assert not pathlib.Path(tmp_path / 'run').exists()

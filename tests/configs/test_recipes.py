"""The recipes at the papers' scale: each builds without data, and the networks take a step."""

import json
import math
import pathlib
import re

import jax
import numpy as np
import pytest

from configs import common, hub_paper, l3rs_ablations, l3rs_paper
from l2o.errors import InputError
from tests.configs.test_configs import load
from tests.l2o.rules.velo_reference import released
from trainers import run
from trainers.harness.folder import Folder
from trainers.jobs import pipeline, sweep_plan, training_job

COLUMNS = [
  *(f'table=1,data={data}' for data in hub_paper.TABLE_1['adamw']),
  *(f'table=2,data={data}' for data in hub_paper.TABLE_2),
  'table=3',
  *(f'table=4,data={data}' for data in hub_paper.TABLE_4),
  *(f'table=5,model={n},data={data}' for n, cells in hub_paper.TABLE_5.items() for data in cells),
]
FAST = re.compile(r'table=(2,data=traj|4,data=64)')  # columns whose rows are all quick to trace
# of another column's network; ViT-L, the slowest to trace, is the ViT with other sizes
ALIKE = re.compile(r'data=(cifar100|tiny_imagenet|512)|vit_l')


@pytest.fixture(scope='session')
def velo(tmp_path_factory):
  """A file like that of VeLO's released weights, with fewer of them, whose steps are small."""
  path = tmp_path_factory.mktemp('weights') / 'velo'
  path.write_bytes(released(shrink, num_features=30))
  return path


def shrink(theta):
  jax.tree.map(lambda x: np.multiply(x, 0.01, out=x), theta)


def hub(arg):
  return common.freeze(hub_paper.get_config(arg))


def runs(config, tmp_path):
  """Name of a row -> its run with the first seed."""
  plan = sweep_plan.build(config, Folder(tmp_path))
  return {planned.name: planned.runs[0] for planned in plan.rows}


def build(config):
  """A job in shapes, with few images."""
  if config['batch_source']['name'] == 'images':  # 4,096 are augmented for a step of ViT-L
    config = common.with_diff(config, {'batch_source.batch_size': 32})
  return training_job.build(config)


def test_the_page_of_recipes_has_all_columns_and_its_commands_are_understood():
  page = pathlib.Path('docs/recipes.md').read_text()
  listed = [cell for cell in re.findall(r'`([^`\n]+)`', page) if cell.startswith('table=')]
  assert [cell.partition(',weights')[0].partition(',volume')[0].partition(',velo')[0]
          for cell in listed] == COLUMNS  # fmt: skip
  for cell in listed:
    assert len(hub(cell)['sweep']) >= 4  # VELO is a name of a file
  for name, arg in re.findall(r'(l3rs_\w+)\.py:([\w=,]+)', page):
    assert load(pathlib.Path(f'configs/{name}.py'), arg)['rule']['name'] in ('l3rs', 'velo')


@pytest.mark.parametrize(
  'column', [c for c in COLUMNS if not FAST.match(c) and not ALIKE.search(c)]
)
def test_the_first_row_of_each_network_of_hub_builds_without_data(column, tmp_path):
  job = build(next(iter(runs(hub(f'{column},blank'), tmp_path).values())).config)
  assert job.plan.num_steps >= 2_000


@pytest.mark.parametrize(
  ('column', 'evaluated'), [('table=5,model=vit_l', 5_000), ('table=1,data=tiny_imagenet', 1_000)]
)
def test_a_plan_without_data_evaluates_on_as_many_images(column, evaluated):
  real, blank = (hub(arg)['batch_source'] for arg in (column, f'{column},blank'))
  assert real['num_evaluated'] == blank['num_evaluated'] == evaluated
  assert blank['source']['validation'] == evaluated, 'others would be the test, and be read'


@pytest.mark.parametrize(
  'column',
  [c if FAST.match(c) else pytest.param(c, marks=pytest.mark.slow) for c in COLUMNS],
)
def test_all_rows_of_a_column_of_hub_build(column, tmp_path, velo):
  found = runs(hub(f'{column},blank,velo={velo}'), tmp_path)
  assert {'velo', 'lgl2o'} < found.keys()
  for row in found.values():
    plan = build(row.config).plan
    assert (plan.fresh is not None) == (row.folder.path.parent.name == 'lgl2o')
    assert plan.num_steps >= 2_000


def test_without_its_weights_nothing_takes_the_place_of_velo(tmp_path, velo):
  assert [*runs(hub('table=5'), tmp_path)] == ['adam', 'adamw']
  found = runs(hub(f'table=1,velo={velo}'), tmp_path)
  assert [*found] == ['adamw', 'velo', 'lgl2o', 'hub inverted', 'hub block_wise']
  rule = found['hub inverted'].config['rule']
  assert rule['learned'] == {'name': 'velo', 'weights': str(velo)}
  assert rule['hand_designed'] == found['adamw'].config['rule']


def test_the_papers_values_are_those_of_the_column_and_in_our_units(velo):
  rows = hub(f'table=5,model=vit,data=cifar100,velo={velo}')['sweep']
  paper = {row['table']: row['paper'] for row in rows}
  assert paper['hub'] == {'test accuracy': 0.7036, 'test top_5_accuracy': 0.9396}
  assert paper['adam']['test accuracy'] == 0.5296
  rows = hub(f'table=2,velo={velo}')['sweep']
  assert [row['paper']['loss'] for row in rows] == [0.0119, None, 0.1641, 4.8663e-05]
  assert hub('table=4,data=256')['sweep'][0]['paper'] == {'psnr': 52.2213}


def test_settings_are_the_papers():
  tuned = hub('table=1,data=tiny_imagenet')
  assert tuned['train']['num_steps'] == 100 * (100_000 // 128)
  assert tuned['rule']['learning_rate'] == 1e-4
  widths = [hub(f'table=4,data={side}')['model']['features'] for side in (64, 256, 512)]
  for width, side in zip(widths, (64, 256, 512), strict=True):
    sizes = [5 * w * (w + 1) + 4 * w + w + 1 for w in (width, width + 1)]  # parameters
    assert 4 * sizes[0] <= 2 * side**3 / 256 < 4 * sizes[1]
  large = hub('table=5,model=vit_l')
  assert math.isclose(large['rule']['learning_rate'], 0.01)
  assert large['train']['num_steps'] == 20_000
  assert len(hub('table=3')['sweep_seeds']) == 10


@pytest.mark.parametrize(
  ('arg', 'says'),
  [
    ('table=6', 'no table'),
    ('table=1,data=imagenet', 'no data of table 1'),
    ('table=3,data=trajectory', 'no data of table 3'),
    ('table=5,model=vit,data=imagenet2012', 'no data of vit in table 5'),
    ('table=2,model=vit', 'model is for table 5 and has no effect on 2'),
    ('table=5,weights=x.safetensors', 'weights is for table 1'),
  ],
)
def test_what_is_in_no_table_is_refused(arg, says):
  with pytest.raises(InputError, match=says):
    hub_paper.get_config(arg)


def test_the_experiments_of_l3rs_build_without_data_beside_all_of_the_papers_rows(velo):
  config = common.freeze(l3rs_paper.get_config(f'blank,rule=velo_ft,velo={velo}'))
  shown = config['meta_evaluate']['paper']
  assert {e: len(rows) for e, rows in shown.items()} == {'A': 15, 'B': 8, 'C': 8, 'D': 8, 'E': 8}
  assert l3rs_paper.get_config('blank,rule=velo_ft').rule.name == 'velo'  # to plan without it
  config = common.freeze(l3rs_paper.get_config('blank,only=D'))
  assert config['meta_evaluate']['paper']['D']['l3rs'][0] == 72.15
  assert config['meta_evaluate']['paper']['D']['adam_constant 1e-5'][-1] == 84.49
  assert 'velo_released' not in config['meta_evaluate']['paper']['D']
  plan = pipeline.build(config)
  assert sorted(plan.pretrain) == ['main', 'other']
  assert [row.family for row in plan.meta_evaluate.baselines] == sorted(l3rs_paper.BASELINES)


def test_one_experiment_needs_no_other_data():
  config = common.freeze(l3rs_paper.get_config('only=A'))
  assert [*config['sources']] == [*config['class_split']] == ['imagenet']
  assert [*config['pretrain']['starts']] == ['main']


@pytest.mark.slow
def test_an_ablation_of_l3rs_builds_at_the_papers_scale(tmp_path):
  config = common.freeze(l3rs_ablations.get_config('paper,blank'))
  assert config['meta_train']['num_generations'] == 500
  found = runs(config, tmp_path)
  assert len(found) == 20 - 2  # the base is in all three tables
  row = found['rule.directions=sgd+adam+adamax+lion+lamb+weight_decay']
  plan = pipeline.build(row.config)
  params, _ = jax.eval_shape(plan.meta_train.task.init, jax.random.key(0))
  assert len(jax.tree.leaves(params)) == 110
  with pytest.raises(InputError, match='add paper'):
    l3rs_ablations.get_config('blank')


@pytest.mark.slow
def test_all_ablations_of_l3rs_build(tmp_path):
  for row in runs(common.freeze(l3rs_ablations.get_config('paper,blank')), tmp_path).values():
    pipeline.build(row.config)


FAMILIES = ['table=3', 'table=4', 'table=5,model=vit']
QUICK = FAMILIES[:2]  # the ViT takes 20 seconds
NETWORKS = [  # ViT-L is left out: its states take 6 GB
  *FAMILIES, 'table=1', 'table=2', 'table=2,data=lane_keeping', 'table=5,model=resnet50',
]  # fmt: skip
STEPS = [(c, 0) if c in QUICK else pytest.param(c, 0, marks=pytest.mark.slow) for c in FAMILIES]
STEPS += [pytest.param(column, -1, marks=pytest.mark.slow) for column in NETWORKS]


@pytest.mark.parametrize(('column', 'number'), STEPS)
def test_a_row_of_a_column_takes_a_step(column, number, tmp_path, velo):
  """The first, which is hand-designed, or the last, HUB."""
  config = hub(f'{column},smoke,velo={velo}')
  row = config['sweep'][number] | {'paper': {'loss': 0.25}}
  config = common.with_diff(config, {'sweep': [row], 'train.num_steps': 1})
  run.run(config, tmp_path / 'run', default=config, overrides={})
  (found,) = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert math.isfinite(found['final']['mean'])
  assert '| loss, paper |' in (tmp_path / 'run' / 'table.txt').read_text()


@pytest.mark.slow
def test_an_ablation_at_the_papers_scale_takes_a_step_on_small_data(tmp_path):
  config = common.freeze(l3rs_ablations.get_config('paper,smoke'))
  run.run(config, tmp_path / 'run', default=config, overrides={})
  rows = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert [row['paper'] for row in rows] == [None, 68.93]

"""Pretraining: ordinary supervised training of the network that all tasks start from."""

from datasets.input_pipeline import fed
from datasets.sampler import BatchSampler
from l2o.models import MODELS
from l2o.registry import build as build_from
from l2o.rules import RULES
from l2o.tasks import TASKS
from l2o.types import PyTree
from trainers.checks import blocks
from trainers.harness import stage
from trainers.harness.folder import Folder
from trainers.resources import meshes, run_data
from trainers.stages import reinit, training


def build(config: blocks.PipelineConfig, data: run_data.Data, start: str) -> training.Train:
  """Builds the stage for one start without computing or writing anything. Raises InputError."""
  spec = config.pretrain
  where = spec.starts[start]
  classes = run_data.classes_of(data, where.source, where.classes)
  seed = run_data.stream_seed(data.seed, f'pretrain/{where.number}')
  model = build_from(MODELS, config.model, 'model', num_classes=len(classes))
  shape = run_data.image_shape(data)
  source = data.sources[where.source]['train']
  batches = BatchSampler(source, classes, spec.batch_size, seed, 'pretrain.batch_size')
  by_host = fed(source, 'train', data.feed)
  task = build_from(TASKS, config.task, 'task', model=model, image_shape=shape)
  return training.Train(
    name='pretraining',
    task=task.whole or task,
    rule=build_from(RULES, spec.rule, 'rule'),
    theta=None,
    sample=batches.sample,
    fed=by_host,
    fresh=None,
    store={} if by_host else source.arrays(),
    evaluation=None,
    num_steps=spec.num_steps,
    log_every=spec.log_every,
    eval_every=0,
    mesh=meshes.build_mesh(spec.mesh, 'pretrain', [spec.batch_size]),
    placement=(),
    policy=reinit.stop(),
    seed=seed,
    start=None,
    remedy='lower pretrain.rule.learning_rate',
  )


def run(plan: training.Train, folder: Folder, options: stage.Options) -> tuple[PyTree, PyTree]:
  """Trains, or resumes from the folder's newest checkpoint; returns (params, model_state)."""
  return training.trained(plan, training.run(plan, folder, options).state.inner)

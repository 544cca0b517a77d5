"""How much work each stage of a pipeline has, to estimate the time of a whole run."""

from collections.abc import Mapping

from trainers.checks import blocks
from trainers.stages import estimation, meta_evaluation, meta_training, training


def of_stages(
  config: blocks.PipelineConfig,
  pretrain: Mapping[str, training.Train],
  meta_train: meta_training.MetaTrain,
  meta_evaluate: meta_evaluation.MetaEvaluate,
) -> dict[str, float]:
  """Name of a stage's folder -> examples that it trains on, in the order of the stages.

  An example costs about the same in every stage, since their networks are alike.

  Args:
    config: the pipeline's config.
    pretrain: folder -> the pretraining.
    meta_train: the meta-training.
    meta_evaluate: the evaluation.
  """
  found = {
    name: float(stage.num_steps * config.pretrain.batch_size) for name, stage in pretrain.items()
  }
  size = config.episodes.batch_size
  own = meta_train
  each = estimation.inner_steps(own.estimator, own.spec, own.task, own.rule, own.mesh)
  found['meta_train'] = (own.spec.num_generations * each + _evaluated(own.spec)) * size
  steps = _episodes(meta_evaluate) * sum(meta_evaluate.spec.num_steps)
  return found | {'meta_evaluate': float(steps * size)}


def _evaluated(spec: blocks.MetaTrain) -> int:
  """Inner steps of the evaluations of theta."""
  if not spec.eval_every:
    return 0
  times = 1 + -(-spec.num_generations // spec.eval_every)
  return times * spec.eval_tasks * spec.max_steps


def _episodes(plan: meta_evaluation.MetaEvaluate) -> int:
  """The number of episodes of all experiments, rows and settings, for each K."""
  spec, count = plan.spec, plan.spec.num_tasks  # the learned optimizer's
  for row in plan.baselines:
    if plan.tunes(row):
      count += spec.tuning_tasks * len(row.settings) + spec.num_tasks
    else:
      count += spec.num_tasks * len(row.settings)
  return len(plan.experiments) * count

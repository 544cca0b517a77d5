"""What crosses devices in a generation, counted in its compiled program."""

import jax

from tests.tiny_run import tiny
from trainers.jobs import pipeline
from trainers.plan.analysis import analyse
from trainers.stages import meta_training

POPULATION = 8


def collectives(data):
  """(kind, shape of what it makes) -> how often it is in the program of a generation."""
  mesh = {'population': 8 // data, 'data': data}
  config = tiny(**{'meta_train.mesh': mesh, 'estimator.population': POPULATION})
  plan = pipeline.build(config).meta_train
  pretrained = jax.eval_shape(plan.task.init, jax.random.key(0))
  return analyse(meta_training.lower(plan, pretrained).compile()).collectives


GATHERS = {('all-gather', f'f32[{POPULATION}]'): 2}  # the losses and accuracies of the population


def test_only_the_metrics_of_the_population_cross_devices():
  assert collectives(data=1) == GATHERS


def test_where_batches_are_split_gradients_are_summed_together_once_a_step():
  """And so are the loss and accuracy of the evaluation batch, once a candidate and task."""
  found = collectives(data=2)
  gradients = ('all-reduce', '(f32[8], f32[8,784], f32[5,8], f32[5], f32[])')  # and the loss
  assert found == {**GATHERS, gradients: 1, ('all-reduce', '(f32[], f32[])'): 1}

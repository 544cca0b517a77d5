"""What the stages of a pipeline have to do, beside each other."""

from tests.tiny_run import tiny
from trainers.jobs import pipeline


def test_stages_are_weighed_by_the_examples_that_they_train_on():
  config = tiny()
  assert pipeline.build(config).options.work == {
    'pretrain': 6 * 128,
    'meta_train': 3 * (4 * 4 * 3) * 32,  # generations, candidates x tasks x the mean K
    'meta_evaluate': (3 + 2 * 3) * (2 + 5) * 32,  # the learned one and two rates, on three tasks
  }
  config['meta_evaluate']['tuning_tasks'] = 1
  tuned = pipeline.build(config).options.work['meta_evaluate']
  assert tuned == (3 + 2 * 1 + 3) * (2 + 5) * 32
  config['meta_train'] |= {'eval_every': 2, 'eval_tasks': 7}  # at 0, 2 and 3 generations
  evaluated = pipeline.build(config).options.work['meta_train']
  assert evaluated == 3 * (4 * 4 * 3) * 32 + 3 * 7 * 5 * 32


def test_each_further_network_is_pretrained_before_meta_training():
  config = tiny(**{'meta_train.num_generations': 0})
  starts = config['pretrain']['starts']
  starts['other'] = starts['main'] | {'number': 1}
  work = pipeline.build(config).options.work
  assert [*work] == ['pretrain', 'pretrain_other', 'meta_train', 'meta_evaluate']
  assert work['pretrain_other'] == 6 * 128
  assert work['meta_train'] == 0

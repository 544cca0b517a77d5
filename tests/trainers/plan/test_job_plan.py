"""The plan of a training job: its evaluation, its test, and what stays beside its programs."""

import os
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from configs import common
from tests.tiny_run import tiny_job
from trainers.jobs import training_job
from trainers.plan import job_programs, programs, report
from trainers.plan.analysis import analyse
from trainers.plan.program import Loop
from trainers.processes import arrays
from trainers.resources import meshes
from trainers.stages import training

ADAM = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 0.1}
EVALUATED = 23


def config(**changes):
  """Images of six classes, trained on two devices; what is not evaluated on is the test."""
  c = common.train_base()
  c.batch_source = {
    'name': 'images', 'source': {'name': 'digits', 'size': 8}, 'split': {'old': 6, 'new': 4},
    'classes': 'old', 'batch_size': 8, 'num_evaluated': EVALUATED,
  }  # fmt: skip
  c.model = {'name': 'mlp', 'num_classes': 6, 'features': (64,)}
  c.task = {'name': 'classification', 'evaluated_at_once': 5}
  c.rule = ADAM
  c.train.update(num_steps=7, log_every=2, eval_every=3)
  c.train.mesh.data = 2
  return common.with_diff(common.freeze(c), changes)


def built(**changes):
  """A job and its programs."""
  job = training_job.build(config(**changes))
  return job, list(programs.of_job(job))


def of(job):
  """The programs of a job without a test."""
  return list(job_programs.of('train', job.plan))


def on_first(tree):
  """Bytes of real arrays on the first device."""
  datas = [jax.random.key_data(x) if is_key(x) else x for x in jax.tree.leaves(tree)]
  first = jax.devices()[0]
  return sum(s.data.nbytes for x in datas for s in x.addressable_shards if s.device == first)


def is_key(x):
  return jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)


def test_what_stays_on_the_devices_has_the_bytes_of_the_run():
  """The moments of Adam, which no evaluation uses, are among its arguments nevertheless."""
  job, (step, evaluation, test) = built()
  state = training.prepare(job.plan).state
  everywhere = meshes.replicated(job.plan.mesh)
  batch, tested = (
    on_first(arrays.put(x, everywhere)) for x in (job.plan.evaluation, job.batch_source.test)
  )
  assert batch == EVALUATED * (8 * 8 + 4)  # images and labels
  assert step.resident == {'evaluation batch': batch}
  found = analyse(evaluation.lowered.compile())
  assert found.arguments == on_first(state.inner) + batch
  assert evaluation.resident == {'last state': on_first(state)}
  inner = on_first(state.inner)
  assert test.resident == {
    'last state': on_first(state), 'best state': inner, 'evaluation batch': batch,
  }  # fmt: skip
  network = on_first((state.inner.params, state.inner.model_state))
  assert analyse(test.lowered.compile()).arguments == network + tested


@pytest.mark.parametrize(('every', 'calls'), [(3, 3), (7, 1), (0, 1), (2, 4)])
def test_an_evaluation_is_called_as_often_as_the_run_does(every, calls):
  job = training_job.build(config(**{'train.eval_every': every}))
  assert [program.calls for program in of(job)] == [7, calls]


def test_a_state_that_is_placed_counts_with_the_share_of_a_device():
  placed = {'train.mesh': {'data': 2, 'model': 4}}
  placed['train.placement'] = (('Dense_0/kernel', (None, 'model')),)
  job, (_, evaluation, _) = built(**placed)
  state = training.prepare(job.plan).state
  assert evaluation.resident == {'last state': on_first(state)}
  assert on_first(state) < sum(x.nbytes for x in jax.tree.leaves(state)) / 2


def test_a_large_theta_stays_while_a_small_state_is_evaluated():
  """More than the last state, which a VeLO of many weights outweighs."""
  rule = {'name': 'mlp_lopt', 'hidden_size': 64}
  job = training_job.build(tiny_job(rule=rule))
  step, evaluation = of(job)
  ready = training.prepare(job.plan)
  assert evaluation.resident == {'theta and store': on_first(ready.given)}
  assert on_first(ready.given) > on_first(ready.state)
  assert step.resident == {}, 'there is no batch'


@pytest.mark.parametrize('at_once', [0, 5])
def test_all_examples_of_an_evaluation_are_counted(at_once):
  _, (_, whole, _) = built(**{'task.evaluated_at_once': 0})
  _, (_, evaluation, test) = built(**{'task.evaluated_at_once': at_once})
  expected = analyse(whole.lowered.compile()).operations
  _, operations = report.describe(evaluation, 10**9, 'cpu')
  assert operations == pytest.approx(expected, rel=0.05)
  examples = len(training_job.build(config()).batch_source.test['label'])
  _, operations = report.describe(test, 10**9, 'cpu')
  assert operations == pytest.approx(expected * examples / EVALUATED, rel=0.05)


@pytest.mark.parametrize(
  'batch',
  [{}, {'x': np.ones((1, 6))}, {'x': np.ones((4, 6)), 'times': np.ones(6)}, {'x': np.float32(2)}],
  ids=['empty', 'one', 'uneven', 'scalar'],
)
def test_an_evaluation_without_examples_is_counted_whole(batch):
  job = training_job.build(tiny_job())
  _, evaluation = of(job._replace(plan=job.plan._replace(evaluation=batch)))
  _, operations = report.describe(evaluation, 10**9, 'cpu')
  assert operations == analyse(evaluation.lowered.compile()).operations > 0


def test_no_test_is_planned_where_all_is_evaluated():
  job, _ = built()
  total = EVALUATED + len(job.batch_source.test['label'])
  _, found = built(**{'batch_source.num_evaluated': total})
  assert [program.name for program in found] == ['a step', 'an evaluation']


def test_what_stays_is_added_to_the_peak_and_named():
  _, (step, *_) = built()
  found = analyse(step.lowered.compile())
  held = step._replace(resident={'evaluation batch': 4_000_000, 'store': 3_000_000})
  enough = found.peak + 7_000_000
  lines, _ = report.describe(held, enough, 'cpu')
  memory = next(line for line in lines if line.startswith('  a device:'))
  assert 'evaluation batch beside them 4 MB, store beside them 3 MB, peak 7' in memory
  assert '100.0% of what it has' in memory
  lines, _ = report.describe(held, enough - 1, 'cpu')
  said = '\n'.join(lines)
  assert 'which it does not have' in said
  assert 'evaluate on fewer examples' in said


def test_bytes_read_and_written_are_said_and_counted_like_operations(monkeypatch):
  _, (step, *_) = built()
  monkeypatch.setattr(report, 'analyse', lambda compiled: compiled)
  found = analyse(step.lowered.compile())

  def fake(accessed):
    of_it = found._replace(accessed=accessed, operations=2.0)
    return types.SimpleNamespace(compile=lambda: of_it)

  lines, _ = report.describe(step._replace(lowered=fake(5e3)), 10**9, 'cpu')
  assert '  a call on a device: 2 operations, 5 kB read and written' in lines
  looped = step._replace(lowered=fake(1.0), loop=Loop(fake(3e12), 46.0))
  lines, operations = report.describe(looped, 10**9, 'cpu')
  assert operations == 2 * 23, 'two devices share the steps'
  assert '  a call on a device: 46 operations, 69 TB read and written (23 x the body of its loop)' in lines  # fmt: skip  # noqa: E501


def test_the_input_must_deliver_what_a_device_takes():
  _, (step, evaluation, _) = built()
  lines, operations = report.describe(step, 10**9, 'TPU v5 lite')
  rate = report._count(8 / (operations / (0.3 * 197e12)))
  said = next(line for line in lines if 'trains on 8 examples' in line)
  assert said.endswith(f', {rate} a second at 30% of peak')
  lines, _ = report.describe(step, 10**9, 'cpu')
  assert '  trains on 8 examples a call' in lines, 'no peak is known'
  lines, _ = report.describe(evaluation, 10**9, 'TPU v5 lite')
  assert 'trains on' not in '\n'.join(lines)


class TooLarge:
  """A program for which no device has the memory."""

  def __init__(self, message):
    self.message = message

  def compile(self):
    raise jax.errors.JaxRuntimeError(self.message)


def test_a_program_that_does_not_compile_for_lack_of_memory_is_left_out(capsys):
  _, (step, evaluation, _) = built()
  lowered = TooLarge('RESOURCE_EXHAUSTED: XLA:TPU ran out of memory\nand more')
  large = step._replace(lowered=lowered)
  lines, operations = report.describe(large, 10**9, 'cpu')
  assert operations is None
  assert 'XLA:TPU ran out of memory' in lines[-1]
  assert 'and more' not in lines[-1]
  assert lines[-1].endswith(report.REMEDY)
  report.make([large, evaluation], jax.devices()[0])
  out = capsys.readouterr().out
  _, operations = report.describe(evaluation, 10**9, 'cpu')
  assert f'[plan] of those that fit: {report._count(operations * 3 * 2)} operations' in out
  with pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'):
    report.describe(step._replace(lowered=TooLarge('INTERNAL: a bug')), 10**9, 'cpu')


POD = """
from tests.trainers.plan.test_job_plan import config
from trainers import run
run.plan(config(**{'train.mesh': {'data': 4}}), 'v5e:2x2')
"""


@pytest.mark.slow
def test_a_job_is_compiled_for_chips_that_are_not_here():
  """In a process of its own: libtpu ends one whose XLA_FLAGS, here the tests', it does not know.

  JAX has looked for a TPU in this process, which libtpu would not let another do meanwhile.
  """
  pytest.importorskip('libtpu', reason='the extra plan is not installed')
  environment = {name: x for name, x in os.environ.items() if name != 'XLA_FLAGS'}
  environment['ALLOW_MULTIPLE_LIBTPU_LOAD'] = '1'
  command = [sys.executable, '-c', POD]
  done = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert '[plan] devices: TPU v5 lite, 16 GB of memory each' in done.stdout
  for program in ('a step, 7 times', 'an evaluation, 3 times'):
    assert f'\ntrain: {program} on a mesh of data 4\n' in done.stdout
  assert '\ntrain: the test, once on one device\n' in done.stdout
  assert 'all-reduce' in done.stdout
  assert 'a second at 30% of peak' in done.stdout
  assert 'device-hours at 30% of the peak of 197 TFLOP/s' in done.stdout

"""Several processes as one run: each ends with the code and the sentence that are due."""

import os
import signal

import pytest

from tests.trainers.processes.launched import dies_within, launched

RESUMES = 'the same command resumes from the last checkpoint'


def test_a_collective_of_all_and_one_output():
  with launched('sum_of_all', count=3) as run:
    ends = run.ends()
  assert [end.code for end in ends] == [0, 0, 0], ends
  assert 'sum 6 over 3 devices' in ends[0].output
  assert [end.output for end in ends[1:]] == ['', '']
  assert not any(end.sentences for end in ends)


def test_processes_that_differ_are_refused_by_all():
  with launched('sum_of_all', value=[1, 2]) as run:
    ends = run.ends()
  says = 'the processes differ in their flags: value is 1 in process 0 and 2 in process 1'
  for end in ends:
    assert end.code == 2, end
    assert end.sentences[0].startswith(says)


@pytest.mark.slow
def test_other_software_is_refused_by_all():
  with launched('pretend_other_revision') as run:
    ends = run.ends()
  for end in ends:
    assert end.code == 2, end
    assert 'differ in their software: code revision is r0 in process 0 and r1' in end.sentences[0]


def test_an_uncaught_error_is_printed_there_and_named_by_the_others():
  with launched('crash') as run:
    zero, one = run.ends()
  assert one.code == 1
  assert 'in crash' in one.errors
  assert 'OSError: no space' in one.errors
  assert zero.code == 5
  assert zero.sentences == [
    f'process 1 of 2 failed (OSError: no space); its own output says more; {RESUMES}'
  ]
  assert 'Traceback' not in zero.errors


@pytest.mark.slow
def test_what_process_0_cannot_do_is_named_by_the_others():
  with launched('fail', count=3) as run:
    zero, *others = run.ends()
  assert (zero.code, zero.sentences) == (1, ['the disk of process 0 is full'])
  for other in others:
    assert other.code == 5, other
    assert 'process 0 of 3 failed (the disk of process 0 is full)' in other.sentences[0]
    assert len(other.sentences) == 1


def test_what_all_refuse_each_says_itself():
  with launched('refuse') as run:
    ends = run.ends()
  assert [(end.code, end.sentences) for end in ends] == [
    (2, [f'no such thing, says {i}']) for i in range(2)
  ]


def test_what_one_refuses_while_building_all_refuse():
  with launched('refuse_together') as run:
    zero, one = run.ends()
  assert (zero.code, zero.sentences) == (2, ['process 1: the file is not here'])
  assert (one.code, one.sentences) == (2, ['the file is not here'])


def test_a_killed_process_is_lost_and_the_others_end():
  with launched('compute', count=3, lost_secs=3) as run:
    workers = run.workers()
    assert run.parents[0].stdout.readline().startswith('[Gloo]')  # so collectives have begun
    os.kill(workers[1], signal.SIGKILL)
    zero, one, two = run.ends()
  assert one.code == 128 + 9
  assert one.sentences == [f'process 1 of 3 was killed, perhaps for want of memory; {RESUMES}']
  for other in (zero, two):
    assert other.code == 5, other
    assert other.sentences == [
      f'process 1 of 3 is lost: no sign of life for 3 s; {RESUMES}'
    ], other  # fmt: skip


@pytest.mark.slow
def test_a_stopped_process_is_lost_and_ended():
  with launched('wait_for_all', lost_secs=3) as run:
    stopped = run.workers()[1]
    os.kill(stopped, signal.SIGSTOP)
    zero, one = run.ends()
    assert dies_within(stopped, 5)
  assert zero.code == 5
  assert zero.sentences == [f'process 1 of 2 is lost: no sign of life for 3 s; {RESUMES}']
  assert one.code == 5
  assert 'process 1 of 2 gave no sign of life for 6 s and was ended' in one.sentences[0]


def test_without_process_0_the_parents_speak():
  with launched('wait_for_all', count=3) as run:
    os.kill(run.workers()[0], signal.SIGKILL)
    zero, *others = run.ends()
  assert zero.code == 128 + 9
  for other in others:
    assert other.code == 5, other
    assert other.sentences == [
      f'process 0 of 3 is lost, and the coordination service with it; {RESUMES}'
    ], other  # fmt: skip


@pytest.mark.slow
def test_a_process_0_that_hangs_is_lost():
  with launched('wait_for_all', lost_secs=3) as run:
    os.kill(run.workers()[0], signal.SIGSTOP)
    zero, one = run.ends()
  assert zero.code == 5
  assert one.code == 5
  assert one.sentences == [f'process 0 of 2 is lost: no sign of life for 3 s; {RESUMES}']


@pytest.mark.slow
def test_a_process_that_lives_without_progress_ends():
  with launched('wait_for_all', stuck_secs=3) as run:
    zero, one = run.ends()
  assert one.code == 5
  assert one.sentences == [
    f'process 1 of 2 is stuck: no progress for 3 s (--stuck_secs); {RESUMES}'
  ]
  assert zero.code == 5
  assert 'process 1 of 2 failed (no progress for 3 s)' in zero.sentences[0]


def test_a_worker_dies_with_its_parent():
  with launched('wait_for_all') as run:
    workers = run.workers()
    run.parents[1].kill()
    assert dies_within(workers[1], 5)


@pytest.mark.parametrize('do', ['build_slowly', 'sigterm_while_connecting'])
def test_sigterm_while_building_ends_all_before_anything_is_computed(do):
  with launched(do) as run:
    if do == 'build_slowly':
      run.workers()
      run.parents[1].send_signal(signal.SIGTERM)
    ends = run.ends()
  for end in ends:
    assert end.code == 143, end
    assert end.sentences == ['ended by SIGTERM before anything was computed']
    assert 'computed\n' not in end.output


def test_sigterm_while_the_others_have_not_come():
  with launched('wait_for_all', num_processes=3) as run:
    run.have_workers()
    run.hear_at_port()
    for parent in run.parents:
      parent.send_signal(signal.SIGTERM)
    ends = run.ends()
  for end in ends:
    assert end.code == 143, end
    assert len(end.sentences) == 1


@pytest.mark.slow
def test_an_interrupt_reaches_the_worker_once():
  with launched('wait_for_all') as run:
    run.workers()
    run.parents[1].send_signal(signal.SIGINT)
    zero, one = run.ends()
  assert (one.code, one.sentences) == (130, [f'interrupted; {RESUMES}'])
  assert zero.code == 5
  assert 'process 1 of 2 failed (interrupted)' in zero.sentences[0]


def test_a_missing_process_is_named_with_a_code():
  with launched('wait_for_all', count=2, num_processes=3, start_secs=2) as run:
    ends = run.ends()
  for end in ends:
    assert end.code == 2, end
    assert 'process 2 of 3 did not come' in end.sentences[0]


@pytest.mark.parametrize(
  'cluster',
  [{}, {'SLURM_STEP_NODELIST': 'localhost', 'SLURM_NTASKS': '1', 'SLURM_PROCID': '0'}],
)
def test_jax_finds_the_processes(cluster, monkeypatch):
  for name, value in cluster.items():
    monkeypatch.setenv(name, value)
    monkeypatch.setenv('SLURM_LOCALID', '0')
    monkeypatch.setenv('SLURM_JOB_ID', str(os.getpid()))  # of which JAX makes the port
  with launched('sum_of_all', count=1, detect_processes='true') as run:
    (end,) = run.ends()
  if cluster:
    assert end.code == 0, end
    assert 'sum 1 over 1 devices' in end.output
  else:
    assert end.code == 2, end
    assert '--detect_processes cannot connect the processes' in end.sentences[0]

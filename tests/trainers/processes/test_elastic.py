"""Elastic runs of real parents; the workers only wait, see `elastic_run`."""

import contextlib
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from l2o.errors import InputError
from tests.peers import free_port
from tests.trainers.processes.launched import LIMIT_SECS, dies_within, launched
from tests.trainers.processes.test_preflight import RUBBISH
from trainers.processes import elastic as elastic_run
from trainers.processes import meeting, preflight
from trainers.processes.flags import Command, Limits


def elastic(do='wait', count=3, **flags):
  return launched(do, count, module='elastic_run', **{'elastic': 'true', 'lost_secs': 3, **flags})


def done(run):
  (run.folder / 'done').touch()
  return run.ends()


def rounds(end):
  return [line.removeprefix('[run] round ') for line in end.output.splitlines()]


def test_workers_and_processes_that_are_killed_and_come_back():
  with elastic() as run:
    workers = run.round(1, 3)
    os.kill(workers[0], signal.SIGKILL)
    second = run.round(2, 3)
    assert all(dies_within(worker, 0) for worker in workers)  # before the next round
    run.parents[1].kill()
    run.round(3, 2)
    assert dies_within(second[1], 1)
    run.again(1)
    run.round(4, 3)
    ends = done(run)
  assert [end.code for end in ends] == [0, 0, 0], ends
  assert rounds(ends[0]) == [
    '1: on processes 0, 1 and 2 of 3',
    '2: on processes 0, 1 and 2 of 3 (process 0 lost its worker)',
    '3: on processes 0 and 2 of 3 (process 1 is gone)',
    '4: on processes 0, 1 and 2 of 3 (process 1 is back)',
  ]
  assert [end.output for end in ends[1:]] == ['', '']
  assert ends[0].sentences == [
    'process 0 of 3 was killed, perhaps for want of memory; the same command resumes from the '
    'last checkpoint'
  ]


@pytest.mark.slow
def test_down_to_process_0_alone():
  with elastic(count=2) as run:
    run.round(1, 2)
    run.parents[1].kill()
    run.round(2, 1)
    zero, _ = done(run)
  assert zero.code == 0
  assert rounds(zero)[1] == '2: on process 0 of 2 (process 1 is gone)'


@pytest.mark.slow
def test_a_parent_that_hangs_is_gone_and_back():
  with elastic(count=2) as run:
    run.round(1, 2)
    run.parents[1].send_signal(signal.SIGSTOP)
    run.round(2, 1)
    run.parents[1].send_signal(signal.SIGCONT)
    run.round(3, 2)
    ends = done(run)
  assert [end.code for end in ends] == [0, 0], ends


def test_process_0_comes_back():
  with elastic() as run:
    workers = run.round(1, 3)
    run.parents[0].kill()
    assert all(dies_within(worker, 5) for worker in workers)
    run.again(0)
    run.round(2, 3)
    ends = done(run)
  assert [end.code for end in ends] == [0, 0, 0], ends
  assert rounds(ends[0]) == ['2: on processes 0, 1 and 2 of 3 (process 0 is back)']


@pytest.mark.slow
def test_process_0_does_not_come_back():
  with elastic(count=2, start_secs=3) as run:
    run.round(1, 2)
    run.parents[0].kill()
    _, one = run.ends()
  assert one.code == 5
  assert one.sentences == [
    f'process 0 of 2 is lost, and did not come back to 127.0.0.1:{run.port} within 3 s '
    f'(--start_secs); the same command resumes from the last checkpoint'
  ]


def test_what_a_worker_refuses_ends_all():
  with elastic('refuse') as run:
    ends = run.ends()
  assert [end.code for end in ends] == [2, 2, 2], ends
  assert [end.sentences for end in ends] == [['no such thing'], [], []]


def test_a_worker_that_always_crashes_ends_all():
  with elastic('crash', count=2) as run:
    ends = run.ends()
  assert [end.code for end in ends] == [5, 5], ends
  assert len(rounds(ends[0])) == 2
  for end in ends:
    assert '2 rounds in a row were lost before anything new was saved' in end.sentences[-1]


@pytest.mark.parametrize('told', [0, 1])
def test_sigterm(told):
  with elastic(count=2) as run:
    for worker in run.round(1, 2):
      os.kill(worker, signal.SIGTERM)  # as all save and end after a signal to one
    run.parents[told].send_signal(signal.SIGTERM)
    if told == 1:
      run.round(2, 1)
      ends = done(run)
    else:
      ends = run.ends()
  assert [end.code for end in ends] == ([143, 143] if told == 0 else [0, 143]), ends
  assert not any(end.sentences for end in ends)


def test_processes_that_do_not_fit():
  with elastic(count=2, num_processes=[2, 3]) as run:
    ends = run.ends()
  assert [end.code for end in ends] == [2, 2], ends
  for end in ends:
    assert 'process 1 was started with --num_processes=3' in end.sentences[0]


def test_one_that_comes_with_another_config_is_refused_alone():
  with elastic(count=2) as run:
    run.round(1, 2)
    run.parents[1].kill()
    run.round(2, 1)
    run.again(1, value=7)
    assert run.parents[1].wait(LIMIT_SECS) == 2
    zero, one = done(run)
  assert zero.code == 0
  assert 'process 1 has another config, workdir or software' in one.sentences[0]


@pytest.mark.slow
def test_a_number_given_twice():
  with elastic(count=3, num_processes=2, process_id=[0, 1, 1], start_secs=3) as run:
    run.round(1, 2)
    time.sleep(5)
    said = [end.sentences for end in done(run) if end.code]
  assert said == [['two processes were started with --process_id=1: each needs its own']]


@pytest.mark.parametrize('elastic', [0, 1])
def test_one_alone_is_elastic(elastic):
  """One process by the meeting, the other by the check of a usual run."""
  port = free_port()
  commands = [Command('127.0.0.1', port, 2, i, Limits(5), elastic=i == elastic) for i in range(2)]

  def begin(command):
    if command.elastic and command.index == 0:
      held = meeting.Meeting(command, '')
      held.close()
      return held._leader.verdict.sentence
    with pytest.raises(InputError) as refused:
      elastic_run._Host(command, '')._met() if command.elastic else preflight.check(command)
    return str(refused.value)

  with ThreadPoolExecutor(2) as pool:
    said = set(pool.map(begin, commands))
  assert said == {
    f'process {elastic} was started with --elastic, process {1 - elastic} without: start all of '
    f'them alike'
  }


def test_an_order_that_comes_with_the_answer_is_heard():
  with socket.create_server(('127.0.0.1', 0)) as server:
    line = elastic_run._Line(Command(*server.getsockname(), 2, 1, Limits()))
    process_0, _ = server.accept()
    with line, process_0:
      process_0.sendall(preflight.encode(accepted=True) + preflight.encode(order='round')[:9])
      assert line.introduce(Command('', 0, 2, 1, Limits()), '', 0)['accepted']
      process_0.sendall(preflight.encode(order='round')[9:] + preflight.encode(order='kill'))
      assert [said['order'] for said in line.hear()] == ['round', 'kill']
      process_0.sendall(preflight.encode(accepted=True) + preflight.encode(order='end'))
      line.introduce(Command('', 0, 2, 1, Limits()), '', 0)
      assert [said['order'] for said in line.hear()] == ['end']


def test_strangers_neither_stop_nor_enter_a_run():
  command = Command('127.0.0.1', free_port(), 2, 0, Limits(10), elastic=True)
  held = meeting.Meeting(command, '')
  with contextlib.ExitStack() as stack:
    for rubbish in [*RUBBISH, b'{"magic": "l2o processes 1", "ended": 1}\n']:
      if b'"index": 0' not in rubbish:  # which process 0 itself may say
        stranger = socket.create_connection(('127.0.0.1', command.port))
        stack.enter_context(stranger).sendall(rubbish)
    lines = [
      stack.enter_context(elastic_run._Host(command._replace(index=i), '')._met()) for i in range(2)
    ]

    def told(line):
      while not (said := [one for one in line.hear() if 'order' in one]):
        pass
      return said[0]

    for i, line in enumerate(lines):
      order = told(line)
      assert (order['order'], order['index'], order['count']) == ('round', i, 2)
    lines[1].say(ended='nonsense', number=1)
    lines[0].say(parts=143)
    ends = told(lines[0])
    assert (ends['order'], ends['code']) == ('end', 143)
  held.close()

"""All processes of a run are there and fit together, or each says the same sentence."""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from l2o.errors import InputError
from tests.peers import free_port
from trainers.processes import preflight
from trainers.processes.flags import Command, Limits


def command(index, count=2, port=0, start=10):
  return Command('127.0.0.1', port, count, index, Limits(start))


def check_all(commands):
  """What each process of a run says, each in a thread of its own; None if it is content."""

  def check(one):
    try:
      preflight.check(one)
    except InputError as error:
      return str(error)

  with ThreadPoolExecutor(len(commands)) as pool:
    return list(pool.map(check, commands))


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0)])
def test_all_are_there_and_the_port_is_free_at_once(order):
  port = free_port()
  assert check_all([command(i, 3, port) for i in order]) == [None] * 3
  with socket.socket() as jax:  # as strict as can be: without SO_REUSEADDR
    jax.bind(('127.0.0.1', port))


def test_one_that_does_not_come_is_named_to_all():
  port = free_port()
  begun = time.monotonic()
  said = check_all([command(i, 4, port, start=2) for i in (0, 3)])
  assert time.monotonic() - begun < 7
  assert said[0] == said[1]
  assert 'processes 1, 2 of 4 did not come' in said[0]
  assert 'within 2 s (--start_secs)' in said[0]


def test_process_0_does_not_come():
  port = free_port()
  (said,) = check_all([command(1, 2, port, start=1)])
  assert f'process 1 of 2 found no process 0 at --coordinator=127.0.0.1:{port} within 1 s' in said
  assert 'refused' in said


def test_a_late_process_0_is_waited_for():
  port = free_port()
  with ThreadPoolExecutor(2) as pool:
    peer = pool.submit(check_all, [command(1, 2, port)])
    time.sleep(1)
    assert check_all([command(0, 2, port)]) == [None]
    assert peer.result() == [None]


def test_another_number_of_processes():
  port = free_port()
  said = check_all([command(0, 2, port), command(1, 3, port)])
  assert said[0] == said[1]
  assert 'process 1 was started with --num_processes=3, process 0 with 2' in said[0]


def test_a_number_given_twice():
  port = free_port()
  said = check_all([command(i, 4, port) for i in (0, 1, 2, 2)])
  assert set(said) == {'two processes were started with --process_id=2: each needs its own'}


@pytest.fixture
def taken():
  """A server that answers each connection with the lines given to it."""
  port, answers = free_port(), []
  with contextlib.ExitStack() as stack:
    server = stack.enter_context(socket.create_server(('127.0.0.1', port)))

    def serve():
      with contextlib.suppress(OSError):
        while True:
          line, _ = server.accept()
          stack.enter_context(line)
          for answer in answers:
            line.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    yield port, answers


@pytest.mark.parametrize(
  'answer',
  [b'', b'\x00\x00\x12\x04\x00', b'HTTP/1.1 400 Bad Request\r\n\r\n', b'[1]\n', b'9' * 9999],
)
def test_a_port_on_which_something_else_listens(taken, answer, monkeypatch):
  monkeypatch.setattr(preflight, 'VERDICT_SECS', 1.0)
  port, answers = taken
  answers.append(answer)
  begun = time.monotonic()
  zero, one = check_all([command(i, 2, port, start=1) for i in range(2)])
  assert time.monotonic() - begun < 5
  assert (
    f'process 0 cannot listen at --coordinator=127.0.0.1:{port} (Address already in use' in zero
  )
  assert f'no process 0 at --coordinator=127.0.0.1:{port} within 1 s' in one
  assert 'something else answers there' in one


def test_an_address_of_another_machine():
  (said,) = check_all([Command('192.0.2.1', 23456, 2, 0, Limits())])  # reserved for documents
  assert 'process 0 cannot listen at --coordinator=192.0.2.1:23456' in said
  (said,) = check_all([Command('no-such-host.invalid', 23456, 2, 1, Limits(start=1))])
  assert 'no-such-host.invalid:23456' in said


RUBBISH = [
  b'',
  b'GET / HTTP/1.1\r\n\r\n',
  b'\xff\xfe\n',
  b'[' * 4000 + b'\n',
  b'9' * 100_000,
  b'{"magic": "l2o processes 0", "index": 1, "count": 2}\n',
  b'{"magic": "l2o processes 1", "index": [1], "count": 2}\n',
  b'{"magic": "l2o processes 1", "index": -1, "count": 2}\n',
  b'{"magic": "l2o processes 1", "index": 0, "count": 2}\n',
  b'{"magic": "l2o processes 1"}\n',
]


def test_strangers_neither_stop_nor_enter_a_run():
  port = free_port()
  with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack:
    zero = pool.submit(check_all, [command(0, 2, port)])
    for rubbish in RUBBISH:
      stack.enter_context(connected(port)).sendall(rubbish)
    time.sleep(0.5)
    assert not zero.done()
    assert check_all([command(1, 2, port)]) == [None]
    assert zero.result() == [None]


def test_one_that_left_may_come_again():
  port = free_port()
  with ThreadPoolExecutor(1) as pool:
    zero = pool.submit(check_all, [command(0, 3, port)])
    with connected(port) as line:
      line.sendall(preflight.encode(index=1, count=3))
      time.sleep(0.3)
    assert check_all([command(i, 3, port) for i in (1, 2)]) == [None, None]
    assert zero.result() == [None]


@pytest.mark.parametrize('index', [0, 1])
def test_waiting_can_be_given_up(index):
  def stop():
    raise KeyError

  with pytest.raises(KeyError):
    preflight.check(command(index, 2, free_port()), stop)


def connected(port):
  """A connection to process 0, which may be about to listen."""
  for _ in range(100):
    with contextlib.suppress(ConnectionRefusedError):
      return socket.create_connection(('127.0.0.1', port))
    time.sleep(0.02)
  raise TimeoutError

"""What process 0 of an elastic run decides from what it heard."""

import pytest

from trainers.processes.flags import Command, Limits
from trainers.processes.leader import MOST_IDLE, SETTLE_SECS, Ended, Leader

KILLED = Ended(137, True, False, '')
FOLLOWED = Ended(5, False, False, '')
PAUSED = Ended(143, False, False, 'train 3')
DONE = Ended(0, False, False, 'train 9')


class Told(Leader):
  """A leader of three with a clock, which takes a round's orders when asked for them."""

  def __init__(self, *present):
    super().__init__(Command('a', 1, 3, 0, Limits(start=60), elastic=True), 0.0)
    self.now = 0.0
    self.come(*present)

  def come(self, *present, number=0):
    for i in present:
      self.join(i, number, self.now)

  def ends(self, ended, *those):
    for i in those:
      self.end(i, self.number, ended)

  def after(self, secs=0.0):
    """process -> what it is told by then: its rank, or the order."""
    self.now += secs
    return {i: order.get('index', order['order']) for i, order in self.orders(self.now)}


@pytest.fixture
def at_work():
  leader = Told(2, 0, 1)
  assert leader.after() == {0: 0, 1: 1, 2: 2}
  assert leader.line() == '[run] round 1: on processes 0, 1 and 2 of 3'
  return leader


def test_the_first_round_is_for_all():
  leader = Told(0, 2)
  assert leader.after(60) == {}
  assert leader.after(1) == {}
  assert leader.verdict.code == 2
  assert 'process 1 of 3 did not come to a:1 within 60 s' in leader.verdict.sentence


def test_a_round_without_one_that_is_gone(at_work):
  at_work.leave(1)
  assert at_work.after() == {0: 'kill', 2: 'kill'}
  at_work.ends(KILLED, 0)
  assert at_work.after(100) == {}  # process 2's worker may still write
  at_work.ends(KILLED, 2)
  assert at_work.after() == at_work.after(SETTLE_SECS) == {}
  assert at_work.after(0.1) == {0: 0, 2: 1}
  assert at_work.line() == '[run] round 2: on processes 0 and 2 of 3 (process 1 is gone)'


def test_a_round_with_all_when_one_lost_its_worker_alone(at_work):
  at_work.ends(KILLED, 1)
  assert at_work.after() == {0: 'kill', 2: 'kill'}
  at_work.ends(KILLED, 0, 2)
  assert at_work.after() == {0: 0, 1: 1, 2: 2}
  assert at_work.line() == '[run] round 2: on processes 0, 1 and 2 of 3 (process 1 lost its worker)'


def alone_with_two(leader):
  leader.leave(1)
  leader.after()
  leader.ends(KILLED, 0, 2)
  leader.after()
  assert leader.after(SETTLE_SECS + 1) == {0: 0, 2: 1}
  leader.line()


def test_one_that_is_back_is_taken_in_after_a_save(at_work):
  alone_with_two(at_work)
  at_work.come(1)
  assert at_work.after(SETTLE_SECS) == {}
  assert at_work.after(0.1) == {0: 'pause', 2: 'pause'}
  assert at_work.after(100) == {}
  at_work.ends(PAUSED, 0, 2)
  assert at_work.after() == {0: 0, 1: 1, 2: 2}
  assert at_work.line().endswith('(process 1 is back)')


def test_one_that_was_back_for_a_moment_is_not_waited_for(at_work):
  alone_with_two(at_work)
  at_work.come(1)
  at_work.leave(1)
  assert at_work.after(SETTLE_SECS + 1) == {}


def test_one_that_is_back_before_the_others_have_ended(at_work):
  at_work.leave(1)
  at_work.after()
  at_work.come(1)
  assert at_work.after(100) == {}
  at_work.ends(KILLED, 0, 2)
  assert at_work.after() == {0: 0, 1: 1, 2: 2}


def test_another_loss_while_a_round_pauses(at_work):
  alone_with_two(at_work)
  at_work.come(1)
  at_work.after(SETTLE_SECS + 1)
  at_work.ends(KILLED, 2)
  assert at_work.after() == {0: 'kill'}
  at_work.ends(KILLED, 0)
  assert at_work.after() == {0: 0, 1: 1, 2: 2}


def test_done_is_done_whoever_is_lost_then(at_work):
  at_work.ends(DONE, 0)
  at_work.leave(1)
  assert at_work.after() == {2: 'kill'}
  at_work.ends(KILLED, 2)
  at_work.after()
  assert at_work.verdict == (0, '')


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0)])
def test_a_refusal_ends_the_run_with_its_code(at_work, order):
  for i in order:  # process 0, whoever refuses, ends last
    at_work.ends(Ended(1, False, False, '') if i == 0 else FOLLOWED, i)
    if i != order[-1]:
      assert at_work.after(100) == {}
  at_work.after()
  assert at_work.verdict == (1, '')


def test_all_that_miss_one_another_start_again(at_work):
  at_work.ends(FOLLOWED, 0, 1, 2)
  assert at_work.after() == {0: 0, 1: 1, 2: 2}


def test_an_error_after_a_loss_is_the_losss(at_work):
  at_work.leave(1)
  at_work.ends(Ended(1, False, False, ''), 0)
  at_work.after()
  at_work.ends(KILLED, 2)
  at_work.after()
  assert at_work.verdict is None
  assert at_work.after(SETTLE_SECS + 1) == {0: 0, 2: 1}


def test_a_signal_to_one_lets_the_others_continue(at_work):
  at_work.ends(PAUSED._replace(asked=True), 1)
  at_work.part(1, 143)
  at_work.leave(1)
  at_work.ends(PAUSED, 0, 2)
  assert at_work.after() == {}
  assert at_work.verdict is None
  assert at_work.after(SETTLE_SECS + 1) == {0: 0, 2: 1}
  assert at_work.line().endswith('on processes 0 and 2 of 3 (process 1 was told to end)')


def test_a_signal_to_process_0_ends_all(at_work):
  at_work.ends(PAUSED, 1, 2)
  at_work.ends(PAUSED._replace(asked=True), 0)
  at_work.after()
  assert at_work.verdict == (143, '')


def test_a_signal_to_process_0_between_rounds_ends_all(at_work):
  at_work.part(0, 143)
  assert at_work.verdict == (143, '')


def test_a_signal_to_a_worker_itself_ends_all(at_work):
  at_work.ends(PAUSED, 0, 1, 2)
  at_work.after()
  assert at_work.verdict == (143, '')


@pytest.mark.parametrize('saved', [lambda i: '', lambda i: 'train 3', lambda i: f'train {i}'])
def test_rounds_without_anything_new_end(at_work, saved):
  for i in range(2 * MOST_IDLE):
    at_work.ends(KILLED, 1)
    at_work.after()
    at_work.ends(KILLED._replace(saved=saved(i)), 0, 2)
    at_work.after()
    if at_work.verdict is not None:
      break
  if saved(0) != saved(1):
    assert at_work.verdict is None
  else:
    assert i == MOST_IDLE - 1 + bool(saved(0))
    assert at_work.verdict.code == 5
    assert f'{MOST_IDLE} rounds in a row were lost' in at_work.verdict.sentence


def test_processes_that_went_and_came_are_no_fault(at_work):
  for _ in range(2 * MOST_IDLE):
    at_work.leave(1)
    at_work.after()
    at_work.come(1)
    at_work.ends(KILLED, 0, 2)
    assert at_work.after() == {0: 0, 1: 1, 2: 2}


def test_a_new_process_0_continues_with_those_that_are_left():
  leader = Told(0)
  leader.now = 30.0
  leader.come(2, number=7)
  assert leader.after(SETTLE_SECS) == {}
  assert leader.after(0.1) == {0: 0, 2: 1}
  assert leader.line() == '[run] round 8: on processes 0 and 2 of 3 (process 0 is back)'


def test_news_of_an_earlier_round_is_ignored(at_work):
  at_work.end(1, 0, KILLED)
  assert at_work.after() == {}

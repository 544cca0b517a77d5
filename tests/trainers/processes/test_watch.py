"""What a process concludes from what the others left in the store."""

import json

import pytest

from trainers.processes import watch
from trainers.processes.flags import Limits


@pytest.fixture
def others():
  return watch.Others(3, 1, Limits(lost=15, stuck=100), now=0.0)


def beat(**counters):
  return [(f'{watch.PLACE}beat/{name[1:]}', str(n)) for name, n in counters.items()]


def end(number, why, line='disk full'):
  return (f'{watch.PLACE}end/{number}', json.dumps({'why': why, 'line': line}))


def hear_until(others, stop, entries):
  for now in range(1, stop + 1):
    others.hear(entries(now), float(now))


def test_those_that_beat_are_alive(others):
  hear_until(others, 50, lambda now: beat(p0=now, p1=0, p2=now))
  assert others.verdict(50.4) == ''
  assert not others.have_left(50.4)


def test_one_that_stops_is_lost(others):
  hear_until(others, 50, lambda now: beat(p0=now, p2=min(now, 20)))
  assert others.verdict(35.0) == ''
  assert 'process 2 of 3 is lost: no sign of life for 15 s' in others.verdict(35.1)


def test_one_that_never_began_is_lost(others):
  hear_until(others, 16, lambda now: beat(p0=now))
  assert 'process 2 of 3 is lost' in others.verdict(16.0)


def test_a_store_that_does_not_answer_is_process_0s(others):
  hear_until(others, 5, lambda now: beat(p0=now, p2=min(now, 3)))
  assert others.verdict(19.0) == ''  # process 2 may be alive
  assert 'process 0 of 3 is lost' in others.verdict(20.1)


@pytest.mark.parametrize(
  ('why', 'grace'),
  [(watch.FAILED, watch.GRACE_SECS), (watch.FOLLOWS, 15 + watch.GRACE_SECS), (watch.JOINT, 100)],
)
def test_one_that_ended_is_followed_after_a_grace(others, why, grace):
  hear_until(others, 200, lambda now: [*beat(p0=now, p2=min(now, 5)), end(2, why)])
  assert others.verdict(1 + grace) == ''
  assert 'process 2 of 3 failed (disk full)' in others.verdict(1.1 + grace)


def test_nobody_is_at_work_once_all_ended_or_are_lost(others):
  hear_until(others, 40, lambda now: [*beat(p0=now, p2=min(now, 20)), end(0, watch.FAILED)])
  assert not others.have_left(35.0)
  assert others.have_left(36.0)


def test_after_a_standstill_of_its_own_all_get_their_time_again(others):
  hear_until(others, 5, lambda now: beat(p0=now, p2=now))
  others.forgive(1000.0)
  assert others.verdict(1014.0) == ''
  assert 'lost' in others.verdict(1016.0)

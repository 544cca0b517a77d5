"""The flags of several processes fit together, or one sentence says how."""

import pytest
from absl import flags
from absl.testing import flagsaver

from l2o.errors import InputError
from trainers.processes import flags as processes

if 'coordinator' not in flags.FLAGS:
  processes.define()


def asked(**given):
  with flagsaver.flagsaver(**given):
    return processes.asked()


def test_without_flags_a_run_has_one_process():
  assert asked() is None
  assert asked(coordinator='a:1', num_processes=1, process_id=0) is None


def test_what_the_flags_say():
  command = asked(coordinator='10.0.0.1:8476', num_processes=4, process_id=3, lost_secs=20)
  assert command == ('10.0.0.1', 8476, 4, 3, (60, 20, 1800), False, False)
  assert command.address == '10.0.0.1:8476'
  command = asked(coordinator='[::1]:8476', num_processes=4, process_id=0)
  assert (command.host, command.address) == ('::1', '[::1]:8476')
  assert asked(detect_processes=True).detect
  assert asked(coordinator='a:1', num_processes=2, process_id=0, elastic=True).elastic


@pytest.mark.parametrize(
  ('given', 'says'),
  [
    ({'coordinator': 'a:1'}, '--coordinator also needs --num_processes and --process_id'),
    ({'num_processes': 2}, '--num_processes also needs --coordinator and --process_id'),
    ({'process_id': 0, 'coordinator': 'a:1'}, '--coordinator also needs --num_processes'),
    ({'num_processes': 2, 'process_id': 1}, '--num_processes also needs --coordinator'),
    (
      {'coordinator': 'a:1', 'num_processes': 2, 'process_id': 2},
      '--process_id=2 must be below --num_processes=2',
    ),
    ({'coordinator': 'a'}, '--coordinator=a must be HOST:PORT'),
    ({'coordinator': ':80'}, '--coordinator=:80 must be HOST:PORT'),
    ({'coordinator': 'a:'}, '--coordinator=a: must be HOST:PORT'),
    ({'coordinator': 'a:b'}, '--coordinator=a:b must be HOST:PORT'),
    ({'coordinator': 'a:0'}, '--coordinator=a:0 must be HOST:PORT'),
    ({'coordinator': 'a:65536'}, '--coordinator=a:65536 must be HOST:PORT'),
    ({'coordinator': '::1:80'}, r'IPv6 address as \[ADDRESS\]:PORT'),
    ({'detect_processes': True, 'process_id': 0}, 'drop --process_id'),
    ({'elastic': True}, '--elastic takes --coordinator=HOST:PORT'),
    ({'elastic': True, 'detect_processes': True}, 'without --detect_processes'),
  ],
)
def test_flags_that_do_not_fit(given, says):
  if given.keys() == {'coordinator'} and given['coordinator'] != 'a:1':
    given = given | {'num_processes': 2, 'process_id': 0}
  with pytest.raises(InputError, match=says):
    asked(**given)


@pytest.mark.parametrize('flag', ['start_secs', 'lost_secs', 'stuck_secs', 'num_processes'])
def test_limits_are_positive(flag):
  with pytest.raises(flags.IllegalFlagValueError, match=f'--{flag}=0'):
    asked(**{flag: 0})

"""The outer loop and its progress line."""

import pytest

from trainers.harness import loop


def run(stop, start=0, **changes):
  log = []

  def step(state, x):
    log.append(('step', x))
    return state + x, {'seen': x}

  arguments = {
    'feed': lambda i: 10 * i,
    'on_metrics': lambda done, metrics: log.append(('metrics', done, metrics['seen'])),
    'report': lambda done, state: log.append(('report', done, state)),
  }
  final = loop.run(step, 100, start=start, stop=stop, **(arguments | changes))
  return final, log


def test_metrics_of_a_step_are_read_after_the_next_is_dispatched():
  final, log = run(3)
  assert final == 130
  assert log == [
    ('step', 0), ('report', 1, 100),
    ('step', 10), ('metrics', 1, 0), ('report', 2, 110),
    ('step', 20), ('metrics', 2, 10), ('report', 3, 130),
    ('metrics', 3, 20),
  ]  # fmt: skip


def test_before_a_save_its_metrics_are_read():
  due = iter([False, True, False])
  saved = []
  _, log = run(
    3, save_due=lambda step: next(due), save=lambda done, state: saved.append((done, state))
  )
  assert saved == [(2, 110)]
  assert log.index(('metrics', 2, 10)) < log.index(('step', 20))
  assert [entry[1] for entry in log if entry[0] == 'metrics'] == [1, 2, 3]


def test_what_metrics_refuse_is_not_saved():
  def refuse(done, metrics):
    raise RuntimeError(f'step {done}')

  saved = []
  with pytest.raises(RuntimeError, match='step 1'):
    run(3, on_metrics=refuse, save_due=lambda step: True, save=lambda *args: saved.append(args))
  assert saved == []


def test_a_resumed_loop_begins_where_it_was():
  final, log = run(3, start=2)
  assert final == 120
  assert [entry for entry in log if entry[0] == 'step'] == [('step', 20)]


def test_nothing_left_to_do_changes_nothing():
  assert run(3, start=3) == (100, [])


def test_what_metrics_raise_ends_the_loop():
  def refuse(done, metrics):
    raise RuntimeError(f'step {done}')

  with pytest.raises(RuntimeError, match='step 1'):
    run(5, on_metrics=refuse)


def test_progress_says_rate_and_time_left(capsys):
  report = loop.progress('meta_train', 'generation', start=0, stop=4, every_secs=0.0)
  for done in range(1, 5):
    report(done, None)
  lines = capsys.readouterr().out.splitlines()
  assert lines[-1].startswith('[meta_train] generation 4/4 (100 %), ')
  assert '/s, 0:00:00 elapsed, ETA 0:00:00' in lines[-1]
  assert '2/4 (50 %)' in lines[0] or '1/4 (25 %)' in lines[0]


def test_progress_says_how_long_the_whole_run_will_take(capsys, monkeypatch):
  clock = iter([0.0, 1.0, 20.0, 40.0])
  monkeypatch.setattr(loop.time, 'monotonic', lambda: next(clock))
  report = loop.progress('pretrain', 'step', start=2, stop=10, every_secs=0.0, follows=30.0)
  for done in (3, 4, 6):
    report(done, None)
  lines = capsys.readouterr().out.splitlines()
  # A tenth of a step a second: 6 steps, then 4, and 30 more.
  assert lines[0].endswith('ETA 0:01:00, of the whole run about 0:06:00')
  assert lines[1].endswith('ETA 0:00:40, of the whole run about 0:05:40')


def test_progress_is_silent_between_its_lines(capsys, monkeypatch):
  clock = iter([0.0, 50.0, 54.0, 56.0, 60.0, 61.0])
  monkeypatch.setattr(loop.time, 'monotonic', lambda: next(clock))
  report = loop.progress('train', 'step', start=0, stop=5, every_secs=5.0)
  for done in range(1, 6):
    report(done, None)
  lines = capsys.readouterr().out.splitlines()
  assert [line.split()[2] for line in lines] == ['3/5', '5/5']
  assert '0:00:56 elapsed' in lines[0]

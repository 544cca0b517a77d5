"""What each start of a stage took."""

import json

from trainers.harness import times
from trainers.harness.folder import TIMES, Folder


def written(folder):
  return json.loads((folder / TIMES).read_text())


def test_each_start_has_its_steps_and_seconds(tmp_path, monkeypatch):
  now = iter([100.0, 102.5, 107.0, 500.0, 501.0])
  monkeypatch.setattr(times.time, 'monotonic', lambda: next(now))
  folder = Folder(tmp_path)
  first = times.Times(folder, 0)
  first.write(3)
  first.write(5)
  times.Times(folder, 5).write(9)
  assert [(one['start'], one['stop'], one['seconds']) for one in written(folder)] == [
    (0, 5, 7.0),
    (5, 9, 1.0),
  ]
  assert written(folder)[0]['devices'] == '8 cpu'


def test_a_start_that_does_nothing_is_not_noted(tmp_path):
  times.Times(Folder(tmp_path), 7).write(7)
  assert not (tmp_path / TIMES).exists()


def test_what_is_damaged_is_begun_anew(tmp_path):
  for content in ('{', '{"a": 1}'):
    (tmp_path / TIMES).write_text(content)
    times.Times(Folder(tmp_path), 0).write(2)
    assert [one['stop'] for one in written(tmp_path)] == [2]

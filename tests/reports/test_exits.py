"""Programs of reports end in one sentence on what their users can fix."""

import errno
import os
import subprocess
import sys

import pytest

from l2o.errors import InputError
from reports.exits import in_one_sentence

RECORDS = 'docs/results/records/l3rs_language_full_seed0.csv.gz'


@pytest.mark.parametrize(
  ('error', 'says'),
  [
    (InputError('give a run'), 'error: give a run'),
    (
      OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),  # of a write, which knows no file
      'error: No space left on device; free space, allow access, or name another place',
    ),
    (
      PermissionError(errno.EACCES, os.strerror(errno.EACCES), 'x.png'),
      'error: x.png: Permission denied; free space, allow access, or name another place',
    ),
  ],
)
def test_an_error_that_a_user_can_fix_is_a_sentence(error, says):
  with pytest.raises(SystemExit) as ended, in_one_sentence():
    raise error
  assert ended.value.code == says


def test_a_mistake_of_the_program_stays_one():
  with pytest.raises(KeyError), in_one_sentence():
    raise KeyError('x')


@pytest.mark.parametrize(
  'words',
  [
    ('families', RECORDS, '--out'),
    ('profiles', f'a={RECORDS}', '--figure'),
    ('figures', RECORDS, '--out'),
  ],
)
def test_a_file_in_the_way_of_the_output_is_named(words, tmp_path):
  (tmp_path / 'file').write_text('')
  name, *rest, option = words
  done = subprocess.run(
    [sys.executable, '-m', f'reports.{name}', *rest, f'{option}={tmp_path / "file" / "x"}'],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 1
  assert done.stderr.startswith(f'error: {tmp_path / "file"}')
  assert len(done.stderr.splitlines()) == 1

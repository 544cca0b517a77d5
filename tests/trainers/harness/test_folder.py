"""One owner of a run's folder: whole files or none, and one process that writes."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from l2o.errors import InputError
from trainers.harness.folder import Folder


def fill(folder):
  folder.write_json('a.json', {'x': 1})
  folder.sub('b').write_text('c.txt', 'line')
  folder.write_arrays('d.npz', {'x/y': np.arange(3)})
  folder.write_figures({'e': Figure()})


def test_every_kind_of_file_is_written_and_nothing_else(tmp_path):
  folder = Folder(tmp_path / 'new')
  fill(folder)
  fill(folder)  # in the place of the first
  found = sorted(str(p.relative_to(folder.path)) for p in folder.path.rglob('*') if p.is_file())
  assert found == ['a.json', 'b/c.txt', 'd.npz', 'figures/e.png']
  assert folder.read_json('a.json', '') == {'x': 1}
  assert (folder.sub('b') / 'c.txt').read_text() == 'line\n'
  with np.load(folder / 'd.npz') as arrays:
    np.testing.assert_array_equal(arrays['x/y'], [0, 1, 2])


def test_a_process_that_does_not_write_leaves_no_trace(tmp_path):
  fill(Folder(tmp_path / 'new', writes=False))
  assert not list(tmp_path.iterdir())


def test_a_write_that_fails_keeps_the_file_there_was(tmp_path):
  folder = Folder(tmp_path)
  folder.write_json('a.json', {'x': 1})
  with pytest.raises(ValueError, match='JSON'):
    folder.write_json('a.json', {'x': float('nan')})
  (tmp_path / 'a.json.partial').mkdir()  # in the way
  with pytest.raises(OSError, match=r'a\.json\.partial'):
    folder.write_json('a.json', {'x': 2})
  assert folder.read_json('a.json', '') == {'x': 1}


def test_what_is_damaged_is_told_with_the_remedy(tmp_path):
  (tmp_path / 'a.json').write_text('{')
  with pytest.raises(InputError, match=r'a\.json is damaged \(.*\); delete it'):
    Folder(tmp_path).read_json('a.json', 'delete it')

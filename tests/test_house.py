"""The house stays small, and imports point one way."""

import ast
import pathlib
import statistics

import pytest

FOLDERS = ('checkpoints', 'configs', 'datasets', 'l2o', 'reports', 'tools', 'trainers')
SOURCE = [
  pathlib.Path('main.py'),
  *(p for f in FOLDERS for p in sorted(pathlib.Path(f).rglob('*.py'))),
]
TESTS = sorted(pathlib.Path('tests').rglob('*.py'))
MAY_IMPORT = {
  'l2o': set(),
  'configs': {'l2o'},
  'datasets': {'l2o'},
  'checkpoints': {'l2o'},
  'reports': {'l2o'},
  'tools': set(),
  'trainers': {'l2o', 'configs', 'datasets', 'checkpoints', 'reports'},
}


def lines(path):
  return len(path.read_text().splitlines())


def test_files_and_functions_are_small():
  assert statistics.median(lines(p) for p in SOURCE) <= 150
  assert lines(pathlib.Path('main.py')) <= 60
  for path in SOURCE + TESTS:
    assert lines(path) <= 400, path
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.FunctionDef):
        assert node.end_lineno - node.lineno < 60, f'{path}: {node.name}'


@pytest.mark.parametrize('package', sorted(MAY_IMPORT))
def test_imports_point_one_way(package):
  for path in pathlib.Path(package).rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      names = [node.module or ''] if isinstance(node, ast.ImportFrom) else []
      names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
      used = {name.split('.')[0] for name in names} & (set(FOLDERS) | {'main', 'tests'})
      assert used <= MAY_IMPORT[package] | {package}, path


def test_no_config_is_asked_for_a_key_that_it_may_lack():
  """Defaults are written in configs/, where a reader looks for them."""
  for path in SOURCE:
    if path.parts[0] != 'configs':
      for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr == 'get':
          assert not isinstance(node.value, ast.Name) or node.value.id != 'config', path

"""What the documents say is so: their code runs, their files exist."""

import pathlib
import re

import pytest

HOWTOS = sorted(pathlib.Path('docs/howto').glob('*.md'))
DOCUMENTS = [
  *HOWTOS,
  *(
    pathlib.Path(p)
    for p in ('README.md', 'CONTRIBUTING.md', 'docs/architecture.md', 'docs/recipes.md')
  ),
  *(pathlib.Path(f'docs/{name}.md') for name in ('index', 'start', 'zoo')),
  *sorted(pathlib.Path('docs/tutorials').glob('*.md')),
]


WITH_CODE = [*HOWTOS, pathlib.Path('README.md'), pathlib.Path('docs/zoo.md')]


@pytest.mark.parametrize('path', WITH_CODE, ids=lambda p: p.stem)
def test_the_code_of_a_document_runs(path):
  blocks = re.findall(r'^```python\n(.*?)^```', path.read_text(), re.M | re.S)
  assert blocks
  exec(compile('\n'.join(blocks), str(path), 'exec'), {'__name__': 'howto'})


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda p: p.stem)
def test_files_that_a_document_names_exist(path):
  text = path.read_text()
  prose = re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)  # `run[name](k)` is no link
  links = re.findall(r'\]\(([^)#:]+)\)', prose)
  named = re.findall(
    r'`((?:l2o|configs|datasets|trainers|checkpoints|reports|tests|tools|docs)/[\w/]+\.\w+)`', text
  )
  written_by_the_reader = {'datasets/stripes.py', 'configs/stripes.py'}
  for name in set(named) - written_by_the_reader:
    assert pathlib.Path(name).exists(), name
  for name in links:
    assert (path.parent / name).exists(), name

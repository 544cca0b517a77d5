"""The site holds what it promises, as far as that can be told without building it."""

import ast
import doctest
import importlib
import pathlib
import re

import jax
import pytest
import safetensors

import l2o
from l2o.artifacts import artifact

DOCS = pathlib.Path('docs')
REFERENCE = sorted((DOCS / 'api').glob('*.md'))
TUTORIALS = sorted((DOCS / 'tutorials').glob('*.md'))


@pytest.fixture
def extension(monkeypatch):
  """Imports one of the site's extensions by name; they need Sphinx, of the extra `docs`."""
  pytest.importorskip('sphinx')
  monkeypatch.syspath_prepend(DOCS / '_ext')
  return importlib.import_module


def test_every_module_is_in_the_reference():
  listed = re.findall(r'automodule:: (\S+)', '\n'.join(page.read_text() for page in REFERENCE))
  files = pathlib.Path('l2o').rglob('*.py')
  modules = {'.'.join(path.with_suffix('').parts).removesuffix('.__init__') for path in files}
  assert len(listed) == len(set(listed))
  assert set(listed) == modules


def test_a_name_without_an_entry_is_reported(extension):
  public_names = extension('public_names')
  every = {
    name
    for module in public_names.modules(l2o)
    for name, _ in ((module.__name__, module), *public_names.names(module))
  }
  assert public_names.missing(every) == []
  assert public_names.missing(every - {'l2o.types.Unroll'}) == ['l2o.types.Unroll']
  assert public_names.missing(every - {'l2o.tasks.lora'}) == ['l2o.tasks.lora']
  # One entry is enough for a name that two modules have.
  assert public_names.missing(every - {'l2o.artifacts.artifact.load'}) == []
  both = {'l2o.load', 'l2o.artifacts.artifact.load'}
  assert public_names.missing(every - both) == ['l2o.artifacts.artifact.load']


def test_the_rewriting_of_docstrings_is_as_its_examples_say(extension):
  result = doctest.testmod(extension('docstrings'))
  assert result.attempted >= 4
  assert result.failed == 0


def test_a_link_out_of_the_site_becomes_a_path(extension, tmp_path):
  docs = tmp_path / 'docs'
  (docs / 'howto').mkdir(parents=True)
  (docs / 'config.md').write_text('')
  (tmp_path / 'main.py').write_text('')
  links = extension('repository_links')
  kept = '[b](../config.md), [c](../../gone.py), ![d](../../main.py)'
  found = links.rewritten(f'[a](../../main.py), {kept}', docs / 'howto' / 'own.md', docs)
  assert found == f'a (`main.py`), {kept}'


@pytest.mark.parametrize('path', TUTORIALS, ids=lambda p: p.stem)
def test_a_tutorial_is_a_notebook_whose_cells_parse(path):
  text = path.read_text()
  assert text.startswith('---\njupytext:')
  cells = re.findall(r'^```\{code-cell\} python\n(?::tags:[^\n]*\n\n)?(.*?)^```', text, re.M | re.S)
  assert len(cells) > 5
  for cell in cells:
    ast.parse('\n'.join(line for line in cell.splitlines() if not line.startswith('%')))


def sections():
  """Name -> its part of the zoo's page."""
  parts = re.split(r'^## (.+)$', (DOCS / 'zoo.md').read_text(), flags=re.M)
  return dict(zip(parts[1::2], parts[2::2], strict=True))


def cell(row):
  """A result of a card as the zoo's page writes it."""
  mean, difference, low, high = (
    100 * row[key]
    for key in ('accuracy_mean', 'difference_mean', 'difference_low', 'difference_high')
  )
  return f'{mean:.1f} ({difference:+.1f} [{low:+.1f}, {high:+.1f}])'


def table(results):
  """The lines of a card's results: one for each experiment."""
  lines = {}
  for row in sorted(results, key=lambda row: row['num_steps']):
    lines.setdefault(row['experiment'], []).append(cell(row))
  horizons = sorted({row['num_steps'] for row in results})
  head = '| | ' + ' | '.join(f'K = {k}' for k in horizons) + ' |'
  return [head, *(f'| {name} | ' + ' | '.join(cells) + ' |' for name, cells in lines.items())]


def test_the_zoo_page_has_every_optimizer():
  assert set(sections()) == {*l2o.zoo(), 'Others'}


@pytest.mark.parametrize('name', l2o.zoo())
def test_the_zoo_page_says_what_the_card_says(name):
  section, held = sections()[name], l2o.read(name)
  config = held.card['config']
  meta_train, tasks = config['meta_train'], config.get('episodes') or config['tasks']
  with safetensors.safe_open(artifact.ZOO / f'{name}.safetensors', 'numpy') as file:
    digest = file.metadata()['sha256']
  (classes,) = held.card['classes'].items()
  for fact in (
    f'{sum(leaf.size for leaf in jax.tree.leaves(held.theta)):,} meta-parameters',
    f'| meta-trained on | `{classes[0]}`',
    f', {len(classes[1]["meta_train"])} ',
    f': {tasks["num_ways"]}-way tasks, batches of {tasks["batch_size"]} |',
    f'| for | {meta_train["min_steps"]} to {meta_train["max_steps"]} steps |',
    f'| by | NES: {meta_train["num_generations"]} generations, '
    f'{config["estimator"]["population"]} candidates, {meta_train["meta_batch"]} tasks each |',
    f'| seed, revision | {config["seed"]}, `{held.card["revision"][:12]}` |',
    f'| SHA-256 | `{digest[:16]}…` |',
    f"`l2o.load('{name}', params",
    *table(held.card['results']),
  ):
    assert fact in section, fact
  if held.spec['name'] == 'l3rs':
    assert f'| layers | {len(held.layers)}, ' in section


@pytest.mark.parametrize('name', l2o.zoo())
def test_a_number_on_the_zoo_page_is_on_the_card_or_on_a_page_it_links(name):
  section = sections()[name]
  links = set(re.findall(r'\]\(([^)#:]+\.md)', section)) - {'tutorials/use.md'}
  assert links
  known = '\n'.join((DOCS / link).read_text() for link in links | {'benchmarks.md'})
  known += '\n'.join(table(l2o.read(name).card['results']))
  numbers = set(re.findall(r'(?<![\w.])\d[\d,]*\.\d+', section))
  assert numbers
  assert not {number for number in numbers if number not in known}

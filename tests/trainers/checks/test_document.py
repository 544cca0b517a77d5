"""docs/config.md is what the types say."""

import pathlib

from trainers.checks import document


def test_the_page_is_what_the_types_say():
  page = pathlib.Path('docs/config.md').read_text()
  assert page == document.render() + '\n', (
    'run: python -m trainers.checks.document > docs/config.md'
  )


def test_every_key_has_a_meaning_a_kind_and_its_block():
  text = document.render()
  row = '| `pretrain.starts.NAME.number` | a whole number of at least 0 | `0` | number of its'
  assert row in text
  assert '| `gammas` | a list, each a number of at least 0 and below 1 |' in text
  assert '| `crop` | a whole number of at least 0 | `0` | height and width of what' in text

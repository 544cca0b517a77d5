"""Generates the reference page of config keys: their meanings and allowed values.

python -m trainers.checks.document > docs/config.md
"""

import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from datasets import SOURCES
from datasets.batch_sources import BATCH_SOURCES
from datasets.transforms import TRANSFORMS
from l2o import arguments
from l2o.estimators import ESTIMATORS, ONLINE
from l2o.models import MODELS
from l2o.registry import resolve
from l2o.rules import RULES
from l2o.rules.hub.weightings import WEIGHTINGS
from l2o.rules.schedules import SCHEDULES
from l2o.tasks import TASKS
from trainers.checks import blocks, schema
from trainers.stages.reinit import POLICIES

TABLES: Mapping[str, Mapping[str, str]] = {
  'Rules': RULES,
  'Models': MODELS,
  'Tasks': TASKS,
  'Estimators': ESTIMATORS,
  'Estimators that keep inner problems between estimates': ONLINE,
  'Data sources': SOURCES,
  'Batch sources': BATCH_SOURCES,
  'Transforms': TRANSFORMS,
  'Schedules': SCHEDULES,
  "HUB's weightings": WEIGHTINGS,
  'Policies for a loss that is not finite': POLICIES,
}
# Arguments that come from a factory's caller, not from the config.
OFFERED = (
  'feed', 'parent', 'name', 'model', 'image_shape', 'example', 'meta_loss', 'map_fn', 'unroll',
  'pair_map',
)  # fmt: skip
HEAD = """# Config

Every key of a config, what it may be and what it means. A config file returns the blocks of a
pipeline or of a training job; any value is overridden on the command line: `--config.seed=1`. This
page is made by `python -m trainers.checks.document`, and a test compares the two.
"""


def render() -> str:
  """The page, in Markdown."""
  parts = [HEAD]
  for title, kind in (('Pipeline', blocks.PipelineConfig), ('Training job', blocks.JobConfig)):
    parts += [f'## {title}\n', *_block(kind, '')]
  for title, table in TABLES.items():
    parts.append(f'## {title}\n')
    for name in table:
      parts += _entry(name, resolve(table, name))
  return '\n'.join(parts)


def _block(kind: type, prefix: str) -> Iterator[str]:
  """One table for a dataclass, and one for each dataclass nested in it."""
  yield _first_line(kind) + '\n'
  yield from _table(_fields(kind, prefix))
  yield ''
  for name, hint in schema.hints(kind).items():
    if (inner := schema.inner(hint)) is not None and inner is not blocks.SweepRow:
      yield f'### `{prefix}{name}`\n'
      yield from _block(inner, f'{prefix}{name}.{_place(hint)}')


def _place(hint: Any) -> str:
  """The placeholder between a block and its inner blocks, if the user names the inner blocks."""
  bare = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
  return 'NAME.' if typing.get_origin(bare) is Mapping else ''


def _fields(kind: type, prefix: str) -> Iterator[tuple[str, str, str, str]]:
  parameters = inspect.signature(kind).parameters
  for name, hint in schema.hints(kind).items():
    meaning = next(x for x in typing.get_args(hint)[1:] if isinstance(x, str))
    yield f'{prefix}{name}', arguments.describe(hint), _default(parameters[name]), meaning


def _entry(name: str, factory: Callable[..., Any]) -> Iterator[str]:
  """A registered factory: the first line of its docstring, and its arguments."""
  yield f"### `'name': {name!r}`\n"
  yield _first_line(factory) + '\n'
  hints, meanings = arguments.hints(factory), _meanings(inspect.getdoc(factory) or '')
  rows = [
    (key, arguments.describe(hints.get(key, Any)), _default(p), meanings.get(key, ''))
    for key, p in inspect.signature(factory).parameters.items()
    if key not in OFFERED and p.kind is not p.VAR_KEYWORD
  ]
  if rows:
    yield from _table(rows)
  yield ''


def _table(rows: Any) -> Iterator[str]:
  yield '| key | may be | default | meaning |'
  yield '|---|---|---|---|'
  for key, kind, default, meaning in rows:
    yield f'| `{key}` | {kind} | {default} | {meaning} |'.replace('\n', ' ')


def _default(parameter: inspect.Parameter) -> str:
  return '' if parameter.default is parameter.empty else f'`{parameter.default!r}`'


def _first_line(thing: Any) -> str:
  text = (inspect.getdoc(thing) or '').split('\n\n')[0]
  return ' '.join(text.split())


def _meanings(text: str) -> dict[str, str]:
  """The descriptions of arguments or attributes in a docstring: name -> text."""
  found = re.search(r'^(?:Args|Attributes):\n((?:  .*\n?|\n)*)', text, re.MULTILINE)
  if found is None:
    return {}
  said = re.findall(r'^  (\w+): (.*(?:\n    .*)*)', found[1], re.MULTILINE)
  return {name: ' '.join(meaning.split()) for name, meaning in said}


if __name__ == '__main__':
  print(render())

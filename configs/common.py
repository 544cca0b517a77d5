"""Shared by config files: arguments after the file name, blocks, freezing, comparing."""

import importlib.util
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from l2o.errors import InputError
from l2o.registry import choose


def parse(arg: str, **defaults: Any) -> ConfigDict:
  """Parses what follows the colon of `--config=configs/x.py:smoke,width=32`.

  Args:
    arg: comma-separated words; a bare word sets a flag, `key=value` sets anything else.
    **defaults: the arguments the file accepts; a value must have the type of its default.

  Raises:
    InputError: the file does not accept a word, or a value has the wrong type.

  Example:
    >>> parse('smoke,width=32', smoke=False, width=64).to_dict()
    {'smoke': True, 'width': 32}
  """
  values = dict(defaults)
  for word in filter(None, arg.split(',')):
    key, equals, text = word.partition('=')
    default = defaults[choose(key, defaults, 'config argument')]
    if isinstance(default, bool):
      values[key] = {'': True, 'true': True, 'false': False}.get(text.lower())
    elif equals:
      values[key] = _converted(type(default), text)
    else:
      values[key] = None
    if values[key] is None:
      raise InputError(f'config argument {word!r} needs a value like {key}={default}')
  return ConfigDict(values)


def _converted(kind: type, text: str) -> Any:
  try:
    return kind(text)
  except ValueError:
    return None


def base() -> ConfigDict:
  """The keys that every experiment has, with their usual values."""
  return ConfigDict({
    'seed': 0,
    'cpu_devices': 2,  # a small network uses only one core; set it to your number of cores
    'log_every_secs': 5.0,  # between progress lines
    'checkpoint_every_secs': 30.0,
    'keep_checkpoints': 2,
    'feed': {
      'chunk_steps': 0,  # 0: images are in memory; otherwise steps that the host reads ahead
      'tasks_at_once': 8,  # evaluation tasks on the device at once, if the host feeds them
      'threads': 8,  # threads that read images, here or in each worker
      'workers': 0,  # processes that read images
      'train': (),  # transforms of training images, see datasets.transforms
      'evaluation': (),  # transforms of evaluation images
    },
    'sweep': [],  # changes to this config, each a separate run; see `sweep_row`
    'sweep_seeds': (0,),
    'first': [],  # in a sweep of training jobs: at most one row, which the others start from
  })  # fmt: skip


def train_base() -> ConfigDict:
  """The blocks that every training job has."""
  c = base()
  c.update(
    cpu_devices=1,
    batch_source={'name': 'nothing'},  # the data to train on, see datasets.batch_sources
    model={},  # empty for a task without a model
    task={},
    rule={},
    start='',  # a finished job's workdir, relative to this one, or a file of weights
    train={
      'num_steps': 1,
      'log_every': 10,  # steps
      'eval_every': 100,  # steps; 0: only at the end
      'comparisons': 1,  # batches on which LGL2O compares its proposals
      'nonfinite': {'name': 'stop'},  # or 'increase_steps', 'min_loss': trainers/stages/reinit.py
      'mesh': {'data': 1, 'model': 1},
      'placement': (),  # for parameters: (regular expression, mesh axis for each array axis)
    },
  )
  return c


BLANK = {  # data set -> numbers of classes, of training images and of validation images
  'cifar10': (10, 50_000, 10_000),
  'cifar100': (100, 50_000, 10_000),
  'imagenet2012': (1_000, 1_281_167, 50_000),
  'places365_small': (365, 1_803_460, 36_500),
  'tiny_imagenet': (200, 100_000, 10_000),
}


def blank(dataset: str, size: int) -> dict[str, Any]:
  """A source with as many images as a data set, all black, to plan a run without the data.

  Args:
    dataset: one of `BLANK`.
    size: height and width of the images.

  Example:
    >>> blank('tiny_imagenet', 64)['train']
    100000
  """
  counts = zip(('num_classes', 'train', 'validation'), BLANK[dataset], strict=True)
  return {'name': 'blank', 'size': size, 'prefix': f'{dataset} ', **dict(counts)}


CELO2_RATES = (1e-2, 1e-3, 1e-4)
# name -> a rule to meta-train; any other name is a learned optimizer to evaluate.
RULES = {
  'l3rs': {'name': 'l3rs', 'directions': ('sgd', 'adam')},
  # arXiv 2211.09760, with 5,057 numbers in theta instead of the released 2,320,385.
  'velo_small': {
    'name': 'velo', 'lstm_width': 16, 'bank_size': 8, 'interpolation': 1.0, 'initial_step': 0.01,
  },
}  # fmt: skip


def set_rules(c: ConfigDict, args: ConfigDict) -> None:
  """Sets the rule named in the arguments, and adds rows for the released weights named there.

  Args:
    c: the config.
    args: `rule`, one of `RULES`, or `velo_ft` or `celo_ft` to start from released weights, or a
      file or a name in the zoo to evaluate as it is; `velo` and `celo`, files of released weights,
      evaluated on all parameters and on the head.

  Raises:
    InputError: `velo_ft` or `celo_ft` is given without weights; only `blank`, for a plan, needs
      none.
  """
  weights = {'velo': args.velo, 'celo': args.celo}
  if args.rule in RULES:
    c.rule = RULES[args.rule]
  elif args.rule in ('velo_ft', 'celo_ft'):
    name = args.rule.removesuffix('_ft')
    if not weights[name] and not args.get('blank'):
      raise InputError(f'rule={args.rule} starts from released weights; add {name}=FILE')
    c.rule = {'name': name, 'weights': weights[name]}
  else:
    c.rule = {'name': 'artifact', 'path': args.rule}
    c.meta_train.num_generations = 0
  for name, path in weights.items():
    if path:
      row = {'name': name, 'weights': path}
      c.meta_evaluate.baselines[f'{name}_released'] = {'rule': row}
      head = {'name': 'head_only', 'rule': row}
      c.meta_evaluate.baselines[f'{name}_released_head'] = {'rule': head}


def hub_rows(hand_designed: dict[str, Any], celo: str) -> list[dict[str, Any]]:
  """Sweep rows: a hand-designed optimizer, a learned one, and the two ways to combine them.

  Args:
    hand_designed: a rule.
    celo: a file of Celo's released weights; '' for the zoo's VeLO of the quickstart.
  """
  learned = {'name': 'artifact', 'path': 'velo-quickstart'}
  if celo:
    learned = {'name': 'celo', 'weights': celo}
  sides = {'hand_designed': hand_designed, 'learned': learned}
  rules = {
    hand_designed['optimizer']: hand_designed,
    'learned': learned,
    'lgl2o': {'name': 'lgl2o', **sides},
    'hub': {'name': 'hub', **sides},
  }
  return [sweep_row(name, None, {'rule': rule}) for name, rule in rules.items()]


def tuned_rows(hand_designed: dict[str, Any], rates: Sequence[float]) -> list[dict[str, Any]]:
  """More rows: the hand-designed optimizer at other rates; without a schedule, decaying linearly.

  A paper's rate may be far from the best one.

  Args:
    hand_designed: a rule.
    rates: learning rates.
  """
  name = hand_designed['optimizer']
  ending = '' if 'schedule' in hand_designed else ', linear'
  rule = {'schedule': 'linear', **hand_designed}
  return [
    sweep_row(f'{name} {rate:g}{ending}', None, {'rule': {**rule, 'learning_rate': rate}})
    for rate in rates
  ]


def celo2_rows(
  hand_designed: dict[str, Any],
  celo2: str,
  rates: Sequence[float] = CELO2_RATES,
  weighting: str = '',
) -> list[dict[str, Any]]:
  """More rows: the released Celo2 at several rates, and in LGL2O and HUB at the middle one.

  Its rate must be tuned, like a hand-designed optimizer's; it decays linearly.

  Args:
    hand_designed: the rule that LGL2O and HUB combine it with.
    celo2: a file of Celo2's released weights; '' for no rows.
    rates: learning rates, an odd number of them.
    weighting: HUB's; '' for its default.
  """
  if not celo2:
    return []
  rules: dict[str, dict[str, Any]] = {
    f'celo2 {rate:g}': {
      'name': 'celo2', 'weights': celo2, 'learning_rate': rate, 'schedule': 'linear',
    }
    for rate in rates
  }  # fmt: skip
  sides = {'hand_designed': hand_designed, 'learned': rules[f'celo2 {rates[len(rates) // 2]:g}']}
  hub = {'name': 'hub', **sides} | ({'weighting': weighting} if weighting else {})
  rules['lgl2o, celo2'] = {'name': 'lgl2o', **sides}
  rules[f'hub {weighting}'.strip() + ', celo2'] = hub
  return [sweep_row(name, None, {'rule': rule}) for name, rule in rules.items()]


def hand_designed(optimizer: str, **arguments: Any) -> dict[str, Any]:
  """An optax optimizer as a rule."""
  return {'name': 'hand_designed', 'optimizer': optimizer, **arguments}


def baseline(
  optimizer: str, schedule: str, trainable: str, learning_rates: tuple[float, ...]
) -> dict[str, Any]:
  """A family of hand-designed settings: one compiled program, mapped over its learning rates."""
  rule = hand_designed(optimizer, schedule=schedule, trainable=trainable)
  return {'rule': rule, 'learning_rates': learning_rates}


def sweep_row(
  table: str, paper: float | Mapping[str, float | None] | None, diff: Mapping[str, Any]
) -> dict[str, Any]:
  """One row of a sweep.

  Args:
    table: the table it belongs to; for training jobs, the row's name.
    paper: what a paper reports, if anything: the accuracy in %; for training jobs, the name of our
      measure -> the value in its unit, None if it was not finite.
    diff: dotted key -> value, the changes to the sweep's base.
  """
  return {'table': table, 'paper': paper, 'diff': dict(diff)}


def with_diff(config: Mapping[str, Any], diff: Mapping[str, Any]) -> dict[str, Any]:
  """A frozen config with some of its values replaced.

  Args:
    config: nested dicts.
    diff: dotted key -> value.

  Raises:
    InputError: a key is not in the config.

  Example:
    >>> with_diff({'seed': 0, 'rule': {'name': 'l3rs'}}, {'rule.name': 'velo'})
    {'seed': 0, 'rule': {'name': 'velo'}}
  """
  there, changed = flatten(config), dict(config)
  for key, value in diff.items():
    if not any(f'{name}.'.startswith(f'{key}.') for name in there):
      raise InputError(f'a row of the sweep changes {key}, which its base does not have')
    head, _, rest = key.partition('.')
    changed[head] = with_diff(changed[head], {rest: value}) if rest else value
  return changed


def flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Flattens nested dicts to one dict of dotted keys; an empty dict stays a value.

  Example:
    >>> flatten({'a': {'b': 1, 'c': {}}, 'd': 2})
    {'a.b': 1, 'a.c': {}, 'd': 2}
  """
  flat: dict[str, Any] = {}
  for key, value in config.items():
    if isinstance(value, Mapping) and value:
      flat |= flatten(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = value
  return flat


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
  """How `new` differs from `old`: dotted key -> (old, new), with None for a missing key.

  Example:
    >>> diff({'seed': 0, 'a': {'b': 1}}, {'seed': 1, 'a': {'b': 1}})
    {'seed': (0, 1)}
  """
  a, b = flatten(old), flatten(new)
  keys = [*a, *(key for key in b if key not in a)]
  return {key: (a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)}


def freeze(config: ConfigDict) -> dict[str, Any]:
  """The config as plain data (dicts, lists, numbers, strings), to save it and to build from it.

  Raises:
    InputError: it is not a ConfigDict, a number is not finite, or a string in a list has a comma,
      as after `--config.names=a,b`.
  """
  if not isinstance(config, ConfigDict):
    raise InputError(
      f'get_config of the config file must return a ConfigDict of ml_collections, not {config!r}'
    )
  return plain(config.to_dict(), '')


def plain(value: Any, key: str) -> Any:
  """A value of a config as plain data, with tuples as lists.

  Args:
    value: the value.
    key: its dotted key, for the error message.

  Raises:
    InputError: see `freeze`.

  Example:
    >>> plain({'model': ConfigDict({'features': (4, 4)})}, 'config')
    {'model': {'features': [4, 4]}}
  """
  if isinstance(value, ConfigDict):
    value = value.to_dict()
  if isinstance(value, float) and not math.isfinite(value):
    raise InputError(f'{key} must be a finite number, not {value}')
  if isinstance(value, Mapping):
    return {k: plain(v, f'{key}.{k}' if key else k) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    for item in value:
      if isinstance(item, str) and ',' in item:
        listed = ', '.join(repr(part.strip()) for part in item.split(','))
        raise InputError(f'{key} holds one name with a comma; write --config.{key}="({listed})"')
    return [plain(item, key) for item in value]
  return value


def load_default(path: str) -> ConfigDict:
  """The default config of a file, without arguments (`x.py:smoke`) or overrides."""
  path = config_path(path)
  spec = importlib.util.spec_from_file_location('default_config', path)
  assert spec is not None
  assert spec.loader is not None  # it is a Python file
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


def config_path(path: str) -> str:
  """The path of the config file in --config, without its arguments.

  Raises:
    InputError: there is no such file, or it is not a Python file.
  """
  path = path.partition('.py:')[0] + '.py' if '.py:' in path else path
  if not path.endswith('.py') or not pathlib.Path(path).is_file():
    raise InputError(
      f'there is no config file {path}; --config takes a Python file like configs/quickstart.py'
    )
  return path


def one_line(error: Exception) -> str:
  r"""The message of a flag parser's error, without quotes and traceback.

  Example:
    >>> one_line(AttributeError('\'sed\'\nDid you mean "seed" instead of "sed"?'))
    'no such key: \'sed\'. Did you mean "seed" instead of "sed"?'
  """
  text = str(error).strip('"').replace("\\'", "'").replace('\\n', '\n')
  text = text[1:-1] if text[:1] == text[-1:] == "'" else text
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  if 'Error whilst parsing config file' in text and 'InputError: ' not in lines[-1]:
    return text  # an error in the file itself: the traceback shows where
  if isinstance(error, (AttributeError, KeyError)):
    return 'no such key: ' + '. '.join(lines)
  return lines[-1].partition('InputError: ')[2] or lines[-1]

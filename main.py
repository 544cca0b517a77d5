"""Runs an experiment: `python main.py --config=configs/quickstart.py --workdir=runs/quickstart`."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from configs import common
from l2o.errors import InputError, RunError
from trainers.run import run

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  help_string='The experiment: a file of configs/, with its arguments behind a colon, as in '
  '--config=configs/quickstart.py:smoke. Any value can be overridden: --config.seed=1.',
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run: results, figures, checkpoints.')
_SWEEP_ROW = flags.DEFINE_string('sweep_row', '', "Number of a sweep's run to do alone, or 'list'.")
flags.mark_flags_as_required(['config', 'workdir'])


def main(argv: Sequence[str]) -> None:
  """Hands the parsed flags over; what a user can mend ends in one sentence."""
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)  # Orbax reports every file at INFO
  try:
    if argv[1:]:
      raise InputError(f'{argv[1]!r} is not a flag: write --config.key=value')
    default = common.load_default(config_flags.get_config_filename(flags.FLAGS['config']))
    run(
      common.freeze(_CONFIG.value),
      workdir=_WORKDIR.value,
      default=common.freeze(default),
      overrides=config_flags.get_override_values(flags.FLAGS['config']),
      sweep_row=_SWEEP_ROW.value,
    )
  except (InputError, RunError) as error:
    _leave(error)


def _parse_flags(argv: Sequence[str]) -> Sequence[str]:
  try:
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
    return _leave(InputError(common.one_line(error)))
  except SyntaxError as error:
    if str(error.filename).endswith('.py'):
      raise  # a mistake in the file itself: its trace says where
    return _leave(InputError(f'{error.filename} is no Python file; --config takes a config file'))


def _leave(error: InputError | RunError) -> NoReturn:
  print(f'error: {error}', file=sys.stderr)
  sys.exit(error.exit_code)


if __name__ == '__main__':
  app.run(main, flags_parser=_parse_flags)

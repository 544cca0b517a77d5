"""Runs an experiment: `python main.py --config=configs/quickstart.py --workdir=runs/quickstart`."""

from collections.abc import Sequence
from functools import partial

from absl import app, flags, logging
from ml_collections import config_flags

from configs import common
from l2o.errors import InputError, RunError
from trainers.plan import flag as plan_flag
from trainers.processes import flags as processes
from trainers.processes import leaving, start
from trainers.run import plan, run

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  help_string='The experiment: a file of configs/, with its arguments behind a colon, as in '
  '--config=configs/quickstart.py:smoke. Any value can be overridden: --config.seed=1.',
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run: results, figures, checkpoints.')
_SWEEP_ROW = flags.DEFINE_string('sweep_row', '', "Run of a sweep: number, name or 'list'.")
processes.define()
plan_flag.define()
flags.mark_flag_as_required('config')


def main(argv: Sequence[str]) -> None:
  """Passes the parsed flags on; errors that the user can fix end in one sentence."""
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)  # Orbax reports every file at INFO
  try:
    if argv[1:]:
      raise InputError(f'{argv[1]!r} is not a flag: write --config.key=value')
    command = processes.asked()
    default = common.load_default(config_flags.get_config_filename(flags.FLAGS['config']))
    config = common.freeze(_CONFIG.value)
    if (topology := plan_flag.asked()) is not None:
      return plan(config, topology, _SWEEP_ROW.value)
    given = {'workdir': _WORKDIR.value, 'sweep_row': _SWEEP_ROW.value}
    overrides = common.plain(config_flags.get_override_values(flags.FLAGS['config']), '')
    go = partial(run, config, default=common.freeze(default), overrides=overrides, **given)
    start.launch(command, go, alike=common.flatten({'config': config, **given}))
  except (InputError, RunError) as error:
    leaving.refuse(error)


def _parse_flags(argv: Sequence[str]) -> Sequence[str]:
  try:
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
    return leaving.refuse(InputError(common.one_line(error)))
  except SyntaxError as error:
    if str(error.filename).endswith('.py'):
      raise  # a mistake in the file itself: the traceback shows where
    return leaving.refuse(InputError(f'{error.filename} is not a Python file; give a config file'))


if __name__ == '__main__':
  app.run(main, flags_parser=_parse_flags)

"""The flags of main.py that make several processes one run."""

from typing import NamedTuple

from absl import flags

from l2o.errors import InputError


class Limits(NamedTuple):
  """How long a process waits for the others, in seconds."""

  start: int = 60
  lost: int = 15
  stuck: int = 1800


class Command(NamedTuple):
  """What a command's flags say about the processes of its run."""

  host: str  # of process 0
  port: int
  count: int
  index: int
  limits: Limits
  detect: bool = False  # JAX finds the processes, so all of the above but `limits` is unknown
  elastic: bool = False

  @property
  def address(self) -> str:
    return f'[{self.host}]:{self.port}' if ':' in self.host else f'{self.host}:{self.port}'


flags.disclaim_key_flags()  # make them the caller's, so that the caller's --help shows them
PEERS = ('coordinator', 'num_processes', 'process_id')


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'coordinator', None,
    'For a run of several processes, HOST:PORT where process 0 waits for the others: an address of '
    'its machine that the others can reach, and a free port. Give every process the same command, '
    'with --num_processes, and a --process_id of its own.',
  )  # fmt: skip
  flags.DEFINE_integer('num_processes', None, 'Number of processes of the run.', lower_bound=1)
  flags.DEFINE_integer(
    'process_id', None,
    'Which process this is: 0 to num_processes - 1. Process 0 writes the files and prints.',
    lower_bound=0,
  )  # fmt: skip
  flags.DEFINE_bool(
    'detect_processes', False,
    'Whether JAX finds the processes of the run itself: on TPU pods, GKE, SLURM and MPI. Replaces '
    '--coordinator, --num_processes and --process_id.',
  )  # fmt: skip
  flags.DEFINE_bool(
    'elastic', False,
    'Whether a run of several processes continues from the last checkpoint when one is lost, and '
    'takes it back, again from the last checkpoint, once that one is started again with the same '
    'command. Needs --coordinator, --num_processes and --process_id. Process 0 must come back '
    'within --start_secs, and meshes must fit those that are left (use -1), or the run ends.',
  )  # fmt: skip
  flags.DEFINE_integer(
    'start_secs', Limits().start,
    'Of several processes: how long they wait for each other at the start.', lower_bound=1,
  )  # fmt: skip
  flags.DEFINE_integer(
    'lost_secs', Limits().lost,
    'Of several processes: one that gives no sign of life for so long is lost, and the others end.',
    lower_bound=3,
  )  # fmt: skip
  flags.DEFINE_integer(
    'stuck_secs', Limits().stuck,
    'Of several processes: one that lives but makes no progress for so long ends. Must exceed the '
    'longest compilation.',
    lower_bound=3,
  )  # fmt: skip


def asked() -> Command | None:
  """What the flags say; None for a run of one process.

  Raises:
    InputError: the flags do not fit together.
  """
  values = flags.FLAGS
  limits = Limits(values.start_secs, values.lost_secs, values.stuck_secs)
  given = [name for name in PEERS if values[name].value is not None]
  if values.elastic and (values.detect_processes or not given):
    raise InputError(
      '--elastic takes --coordinator=HOST:PORT --num_processes=N --process_id=I, without '
      '--detect_processes'
    )
  if values.detect_processes:
    if given:
      raise InputError(f'--detect_processes finds the processes itself: drop --{given[0]}')
    return Command('', 0, 0, 0, limits, detect=True)
  if not given:
    return None
  if missing := [name for name in PEERS if name not in given]:
    raise InputError(
      f'--{given[0]} also needs {" and ".join(f"--{name}" for name in missing)}: a run of several '
      f'processes takes --coordinator=HOST:PORT --num_processes=N --process_id=I'
    )
  if values.process_id >= values.num_processes:
    raise InputError(
      f'--process_id={values.process_id} must be below --num_processes={values.num_processes}: '
      f'processes count from 0'
    )
  host, port = _address(values.coordinator)
  command = Command(
    host, port, values.num_processes, values.process_id, limits, elastic=values.elastic
  )
  return command if command.count > 1 else None


def _address(text: str) -> tuple[str, int]:
  host, _, port = text.rpartition(':')
  if host.startswith('[') and host.endswith(']'):
    host = host[1:-1]
  elif ':' in host:
    raise InputError(f'--coordinator={text} must write an IPv6 address as [ADDRESS]:PORT')
  if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
    raise InputError(f'--coordinator={text} must be HOST:PORT, such as 10.0.0.1:8476')
  return host, int(port)

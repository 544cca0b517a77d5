"""Connects the processes of a run through JAX."""

from collections.abc import Callable
from typing import Any

from l2o.errors import InputError, first_line
from trainers.harness import signals
from trainers.processes import preflight
from trainers.processes.flags import Command

CONNECT_SECS = 30  # once all processes are known to be running
SHUTDOWN_SECS = 10
HEARTBEAT_SECS = 30  # minimum for JAX's own heartbeat, which must not report before the watch


def connect(command: Command, stop: Callable[[], None]) -> None:
  """Connects this process to the others of the run.

  Args:
    command: what the flags of this process say.
    stop: called several times a second while waiting; may raise to give up.

  Raises:
    InputError: another process is missing or has other flags.
  """
  if not command.detect:
    preflight.check(command, stop)
  with signals.held_back():
    import jax

    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    try:
      jax.distributed.initialize(**_arguments(command))
    except (ValueError, RuntimeError) as error:
      raise InputError(_cannot(command, first_line(error))) from error


def _cannot(command: Command, why: str) -> str:
  if command.detect:
    return (
      f'--detect_processes cannot connect the processes ({why}): start all of them, or name them '
      f'by --coordinator=HOST:PORT --num_processes=N --process_id=I'
    )
  return (
    f'JAX cannot connect the processes at --coordinator={command.address} ({why}): let all '
    f'machines reach that port, and give the same command again'
  )


def _arguments(command: Command) -> dict[str, Any]:
  limits = {
    'heartbeat_timeout_seconds': max(HEARTBEAT_SECS, 2 * command.limits.lost),
    'shutdown_timeout_seconds': SHUTDOWN_SECS,
  }
  if command.detect:
    return {'initialization_timeout': command.limits.start, **limits}
  return {
    'coordinator_address': command.address,
    'coordinator_bind_address': command.address,
    'num_processes': command.count,
    'process_id': command.index,
    'cluster_detection_method': 'deactivate',
    'initialization_timeout': CONNECT_SECS,
    **limits,
  }

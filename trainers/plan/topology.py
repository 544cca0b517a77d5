"""The devices of a TPU pod that is not attached, to compile for."""

import contextlib
import os
from collections.abc import Iterator, Sequence

import jax

from l2o.errors import InputError, first_line

LEVEL = 'O1'  # of optimization; the level of a run takes much longer (docs/howto/plan.md)


def devices(name: str) -> Sequence[jax.Device]:
  """The devices of a topology such as 'v5e:16x16', in libtpu's words.

  Raises:
    InputError: libtpu is not installed, or it knows no such topology.
  """
  # Otherwise libtpu queries the machine that it runs on, and complains.
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  jax.config.update('jax_platforms', 'cpu')  # for what is computed meanwhile
  try:
    import libtpu  # noqa: F401
  except ImportError as error:
    raise InputError(f"--plan={name} needs libtpu: pip install 'l2o[plan]'") from error
  from jax.experimental import topologies

  try:
    found = topologies.get_topology_desc(name, platform='tpu')
  except Exception as error:  # libtpu raises several kinds
    raise InputError(
      f'--plan={name} is not a topology that libtpu knows ({first_line(error)}); examples are '
      f'v5e:4x4 and v4:2x2x2'
    ) from error
  return list(found.devices)


@contextlib.contextmanager
def compiled_quickly() -> Iterator[None]:
  """Compiles at XLA's level O1, unless JAX_OPTIMIZATION_LEVEL names another."""
  before = jax.config.jax_optimization_level
  jax.config.update('jax_optimization_level', LEVEL if before == 'UNKNOWN' else before)
  try:
    yield
  finally:
    jax.config.update('jax_optimization_level', before)

"""The platform that programs are written for: this machine's, or one they are only compiled for."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_assumed: contextvars.ContextVar[str | None] = contextvars.ContextVar('platform', default=None)


def platform() -> str:
  """'cpu', 'gpu' or 'tpu': what is fast differs between them."""
  return _assumed.get() or jax.default_backend()


@contextlib.contextmanager
def assumed(name: str) -> Iterator[None]:
  """Assumes another platform, for programs that are traced here and compiled for that platform.

  Example:
    >>> with assumed('tpu'):
    ...   platform()
    'tpu'
  """
  token = _assumed.set(name)
  try:
    yield
  finally:
    _assumed.reset(token)

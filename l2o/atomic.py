"""Atomic writes: a file is there whole or not at all."""

import pathlib


def replace(path: pathlib.Path, content: bytes) -> None:
  """Writes a file, replacing any older one; a kill leaves the old file or the new one."""
  partial = path.with_name(f'{path.name}.partial')
  try:
    partial.write_bytes(content)
    partial.replace(path)
  except OSError:
    partial.unlink(missing_ok=True)
    raise

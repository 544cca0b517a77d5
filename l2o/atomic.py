"""Files that are there whole or not at all."""

import pathlib


def replace(path: pathlib.Path, content: bytes) -> None:
  """Writes a file, in the place of an older one if there is one; a kill leaves either."""
  partial = path.with_name(f'{path.name}.partial')
  try:
    partial.write_bytes(content)
    partial.replace(path)
  except OSError:
    partial.unlink(missing_ok=True)
    raise

"""What a run shows beside its results: its page, and texts and figures for TensorBoard.

None of it may cost a run its results: what cannot be made is reported and left out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from l2o.errors import first_line
from trainers.harness import writers
from trainers.harness.folder import CONFIG, DIFF, FIGURES, PAGE, Folder


def config(folder: Folder) -> None:
  """The config and its difference from the file's default, as texts for TensorBoard."""
  found = {name: folder / name for name in (CONFIG, DIFF) if (folder / name).is_file()}

  def show() -> None:
    # Markdown shows indented text as it is.
    texts = {name: path.read_text().replace('\n', '\n    ') for name, path in found.items()}
    writers.show(folder, texts={name: f'    {text}' for name, text in texts.items()}, images={})

  if found:
    _aside(folder, show, 'TensorBoard does not show the config')


def ended(folder: Folder, results: Any) -> None:
  """Writes TensorBoard's figures and the page of a run that lacks only its results.json.

  Args:
    folder: the run's folder, with all its other files.
    results: what will be in results.json.
  """

  def show() -> None:
    paths = sorted((folder / FIGURES).glob('*.png'))
    images = {path.stem: np.asarray(Image.open(path).convert('RGB')) for path in paths}
    if images:
      writers.show(folder, texts={}, images=images)

  def page() -> None:
    from reports.page import make  # imports jinja2

    folder.write(PAGE, make(folder.path, results).encode())

  _aside(folder, show, 'TensorBoard does not show the figures')
  _aside(folder, page, f'there is no {PAGE}, which `python -m reports.page {folder}` makes')


def _aside(folder: Folder, do: Callable[[], None], otherwise: str) -> None:
  if not folder.writes:
    return
  try:
    do()
  except Exception as error:
    print(f'[run] {otherwise}: {type(error).__name__}: {first_line(error)}', flush=True)

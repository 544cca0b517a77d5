"""What is in an image file."""

import numpy as np
from PIL import Image


def is_drawn(path):
  """Whether it is a PNG with more on it than a background: a tenth of it, or a line, differs."""
  with Image.open(path) as image:
    assert image.format == 'PNG'
    pixels = np.asarray(image.convert('L'))
  background = np.bincount(pixels.ravel()).argmax()
  other = pixels != background
  return (
    min(pixels.shape) >= 100 and other.any(axis=0).mean() > 0.5 and other.any(axis=1).mean() > 0.5
  )

"""What several sources do to their images."""

import numpy as np
from PIL import Image


def resized(image: np.ndarray, size: int) -> np.ndarray:
  """An image [H, W, C] uint8 at size x size, its shorter side filled, the rest cut off evenly.

  Args:
    image: one or three channels.
    size: height and width; 0 leaves the image as it is.

  Example:
    >>> resized(np.zeros((4, 8, 3), np.uint8), 2).shape
    (2, 2, 3)
  """
  if not size or image.shape[:2] == (size, size):
    return image
  height, width = image.shape[:2]
  side = min(height, width)
  top, left = (height - side) // 2, (width - side) // 2
  square = image[top : top + side, left : left + side]
  picture = Image.fromarray(square[..., 0] if image.shape[2] == 1 else square)
  pixels = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0))
  return pixels.reshape(size, size, image.shape[2])

"""The operations of AutoAugment and their ranges, with Pillow.

Source: Cubuk et al., arXiv 1805.09501, table 6; where the paper leaves something open (directions,
what a shear turns around, rounding), this follows torchvision's `AutoAugment`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import Image, ImageEnhance, ImageOps

LEVELS = 10
How = dict[str, Any]  # `resample` and `fillcolor`, for operations that move pixels


class Operation(NamedTuple):
  """What is done to an image, and how strongly.

  Attributes:
    apply: an image, a magnitude, how to resample and fill the pixels it moves -> the image.
    ends: magnitude at levels 0 and 9, evenly spaced in between.
    signed: whether the magnitude is negated half of the time.
    side: which of (width, height) the ends are fractions of, None for neither.
    whole: whether the magnitude is rounded to a whole number.
  """

  apply: Callable[[Image.Image, float, How], Image.Image]
  ends: tuple[float, float] = (0.0, 0.0)
  signed: bool = False
  side: int | None = None
  whole: bool = False

  def magnitude(self, level: int | None, size: tuple[int, int]) -> float:
    """The magnitude at a level from 0 to 9 or None, for an image of `size` (width, height).

    Example:
      >>> OPERATIONS['Rotate'].magnitude(3, (32, 32))
      10.0
    """
    low, high = self.ends
    value = low + (high - low) * (level or 0) / (LEVELS - 1)
    if self.side is not None:
      value *= size[self.side]
    return round(value) if self.whole else value


def _affine(image: Image.Image, matrix: tuple[float, ...], how: How) -> Image.Image:
  """Pixel (x, y) comes from (a x + b y + c, d x + e y + f), with matrix (a, b, c, d, e, f)."""
  return image.transform(image.size, Image.Transform.AFFINE, matrix, **how)


def _enhanced(kind: Any) -> Callable[[Image.Image, float, How], Image.Image]:
  """Magnitude 0 is the image itself, -1 an image without any contrast, colour, light or edges."""
  return lambda image, m, how: kind(image).enhance(1 + m)


_TRANSLATION = 150 / 331  # of the side: 150 of the 331 pixels of the paper's images
OPERATIONS = {
  'ShearX': Operation(lambda i, m, how: _affine(i, (1, m, 0, 0, 1, 0), how), (0, 0.3), True),
  'ShearY': Operation(lambda i, m, how: _affine(i, (1, 0, 0, m, 1, 0), how), (0, 0.3), True),
  'TranslateX': Operation(
    lambda i, m, how: _affine(i, (1, 0, -int(m), 0, 1, 0), how), (0, _TRANSLATION), True, side=0
  ),
  'TranslateY': Operation(
    lambda i, m, how: _affine(i, (1, 0, 0, 0, 1, -int(m)), how), (0, _TRANSLATION), True, side=1
  ),
  'Rotate': Operation(lambda i, m, how: i.rotate(m, **how), (0, 30), True),
  'AutoContrast': Operation(lambda i, m, how: ImageOps.autocontrast(i)),
  'Invert': Operation(lambda i, m, how: ImageOps.invert(i)),
  'Equalize': Operation(lambda i, m, how: ImageOps.equalize(i)),
  'Solarize': Operation(lambda i, m, how: ImageOps.solarize(i, m), (255, 0)),
  'Posterize': Operation(lambda i, m, how: ImageOps.posterize(i, int(m)), (8, 4), whole=True),
  'Contrast': Operation(_enhanced(ImageEnhance.Contrast), (0, 0.9), True),
  'Color': Operation(_enhanced(ImageEnhance.Color), (0, 0.9), True),
  'Brightness': Operation(_enhanced(ImageEnhance.Brightness), (0, 0.9), True),
  'Sharpness': Operation(_enhanced(ImageEnhance.Sharpness), (0, 0.9), True),
}

"""`glyphs`: 62 characters at 28x28, drawn from the fonts that matplotlib ships.

Needs no download. Every image is a character in some font, slightly rotated, shifted, scaled and
noisy, all from a seed. The validation split is drawn from fonts that the train split never uses.
"""

import functools
import pathlib
import string

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.images import check_fits
from datasets.source import ArraySource
from l2o.arguments import Count, Whole, checked
from l2o.registry import choose

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
SIZE = 28
CANVAS = 3 * SIZE  # drawn large and then resampled, so that edges come out smooth
ANGLE = 15.0  # maximum, degrees, either way
SHIFT = 3.0  # maximum, pixels, either way
ZOOM = (0.65, 1.15)
NOISE = 40.0  # standard deviation, out of 255

# Five families, one for each kind of typeface: sans, mono, serif, book and typewriter.
VALIDATION_FONTS = (
  'DejaVuSans-Oblique',
  'DejaVuSansMono-Bold',
  'DejaVuSerif-Italic',
  'STIXGeneral',
  'cmss10',
)
TRAIN_FONTS = (
  'DejaVuSans',
  'DejaVuSans-Bold',
  'DejaVuSans-BoldOblique',
  'DejaVuSansMono',
  'DejaVuSansMono-BoldOblique',
  'DejaVuSansMono-Oblique',
  'DejaVuSerif',
  'DejaVuSerif-Bold',
  'DejaVuSerif-BoldItalic',
  'STIXGeneralBol',
  'STIXGeneralBolIta',
  'STIXGeneralItalic',
  'cmb10',
  'cmmi10',
  'cmr10',
  'cmti10',
  'cmtt10',
)
FONTS = {'train': TRAIN_FONTS, 'validation': VALIDATION_FONTS}


@checked
def glyphs(split: str, seed: Whole = 0, per_font: Count = 12) -> ArraySource:
  """Draws the data set.

  Args:
    split: 'train' (17 fonts) or 'validation' (5 other fonts).
    seed: seed of all distortions.
    per_font: images of each character in each font; the validation split has twice as many, so
      that every class fills its share of an evaluation batch.

  Example:
    >>> source = glyphs('validation', per_font=1)
    >>> len(source), source.image_shape, source.class_names[10]
    (620, (28, 28, 1), 'A')
  """
  fonts = FONTS[choose(split, FONTS, 'split')]
  copies = per_font * (2 if split == 'validation' else 1)
  # In floating point while noise is added.
  check_fits(8 * len(fonts) * len(CHARACTERS) * copies * SIZE**2, 'data set glyphs', 'per_font')
  rng = np.random.default_rng([seed, list(FONTS).index(split)])
  images, labels = [], []
  for font in fonts:
    for label, character in enumerate(CHARACTERS):
      images += [_distorted(font, character, rng) for _ in range(copies)]
      labels += [label] * copies
  stacked = np.stack(images)[..., None]
  noise = rng.normal(0.0, NOISE, stacked.shape)
  noisy = np.clip(np.rint(stacked + noise), 0, 255).astype(np.uint8)
  return ArraySource(noisy, np.asarray(labels), list(CHARACTERS))


def _distorted(font: str, character: str, rng: np.random.Generator) -> np.ndarray:
  """One character, rotated, shifted and scaled at random: [SIZE, SIZE] uint8."""
  drawn = _drawn(font, character)
  angle = np.deg2rad(rng.uniform(-ANGLE, ANGLE))
  # PIL maps output pixels back to the input, hence the inverse of the scale.
  zoom = (CANVAS / SIZE) / rng.uniform(*ZOOM)
  a, b = zoom * np.cos(angle), zoom * np.sin(angle)
  dx, dy = SIZE / 2 + rng.uniform(-SHIFT, SHIFT, size=2)
  centre = CANVAS / 2
  matrix = (a, b, centre - a * dx - b * dy, -b, a, centre + b * dx - a * dy)
  return np.asarray(drawn.transform((SIZE, SIZE), Image.Transform.AFFINE, matrix, Image.BILINEAR))


@functools.cache
def _drawn(font: str, character: str) -> Image.Image:
  """The character, white on black, its ink centred on a square canvas."""
  canvas = Image.new('L', (CANVAS, CANVAS))
  face = _face(font)
  left, top, right, bottom = face.getbbox(character)
  corner = ((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2)
  ImageDraw.Draw(canvas).text(corner, character, fill=255, font=face)
  # Resampling takes one point in three: smooth over that distance first.
  return canvas.resize((SIZE, SIZE), Image.BOX).resize((CANVAS, CANVAS), Image.BICUBIC)


@functools.cache
def _face(font: str) -> ImageFont.FreeTypeFont:
  folder = pathlib.Path(matplotlib.get_data_path(), 'fonts', 'ttf')
  return ImageFont.truetype(str(folder / f'{font}.ttf'), size=round(0.85 * CANVAS))

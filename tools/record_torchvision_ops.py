"""Records what torchvision's image transforms compute, on a picture drawn from a seed.

python3 -m tools.record_torchvision_ops tests/golden/torchvision_ops.npz

Needs torch and torchvision, but neither JAX nor l2o: tests/golden/README.md says how to install
them. To compare, draw the picture again with `tools.torch_weights.picture`.
"""

import argparse
import json
from collections.abc import Iterator

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.transforms import RandomResizedCrop, functional
from torchvision.transforms.autoaugment import AutoAugment, AutoAugmentPolicy, _apply_op
from torchvision.transforms.functional import InterpolationMode

from tools.torch_weights import picture

SHAPE = (19, 27)  # enough pixels for Equalize to have an effect
LEVELS = (2, 5, 9)
GEOMETRIC = ('ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Rotate')
FILL = {'L': 90, 'RGB': (90, 20, 200)}
MODES = {mode.value: mode for mode in InterpolationMode}
SIZES = (8, 23, (14, 33), (26, 12))  # for resize and for the centre crop
BOX = (2, 5, 14, 18)  # top, left, height, width
# (H, W), scale, ratio: every attempt fails with these, so torchvision falls back to the centre.
HOPELESS = (
  ((3, 500), (0.08, 1.0), (3 / 4, 4 / 3)),
  ((500, 3), (0.08, 1.0), (3 / 4, 4 / 3)),
  ((20, 41), (1.0, 1.0), (3 / 4, 4 / 3)),
  ((41, 20), (1.0, 1.0), (3 / 4, 4 / 3)),
  ((20, 41), (1.1, 1.2), (0.4, 2.5)),
)

Named = Iterator[tuple[str, np.ndarray]]


def pictures() -> dict[str, Image.Image]:
  pixels = picture(*SHAPE)
  return {'RGB': Image.fromarray(pixels), 'L': Image.fromarray(pixels[..., 0])}


def policies() -> Named:
  for policy in AutoAugmentPolicy:
    yield f'policy/{policy.value}', np.array(json.dumps(AutoAugment(policy).policies))


def magnitudes() -> Named:
  """Magnitudes of levels 0 to 9, and their negatives where the sign is random."""
  for shape in (SHAPE, (224, 160)):
    for name, (values, signed) in AutoAugment()._augmentation_space(10, shape).items():
      positive = np.broadcast_to(values.numpy().astype(np.float64), 10)
      both = [positive, -positive] if signed else [positive]
      yield 'magnitude/{}x{}/{}'.format(*shape, name), np.stack(both)


def operations() -> Named:
  """[signs, levels, H, W] or [signs, levels, H, W, 3]: the positive sign comes first."""
  for name, (values, signed) in AutoAugment()._augmentation_space(10, SHAPE).items():
    for mode, image in pictures().items():
      moves = name in GEOMETRIC and mode == 'RGB'
      for interpolation in ('nearest', 'bilinear') if moves else ('nearest',):
        found = [
          [
            np.asarray(_apply_op(image, name, sign * m, MODES[interpolation], FILL[mode]))
            for m in (values[list(LEVELS)].tolist() if values.ndim else [0.0])
          ]
          for sign in ((1, -1) if signed else (1,))
        ]
        yield f'operation/{name}/{mode}/{interpolation}', np.array(found)


def geometry() -> Named:
  for mode, image in pictures().items():
    for size in SIZES:
      label = 'x'.join(map(str, np.atleast_1d(size)))
      yield f'centre_crop/{mode}/{label}', np.asarray(functional.center_crop(image, size))
      for how in ('bilinear', 'bicubic'):
        yield f'resize/{mode}/{how}/{label}', np.asarray(functional.resize(image, size, MODES[how]))
    cut = functional.resized_crop(image, *BOX, [6, 6], MODES['bicubic'])
    yield f'resized_crop/{mode}', np.asarray(cut)


def boxes() -> Named:
  """Boxes (top, left, height, width)."""
  for number, (shape, scale, ratio) in enumerate(HOPELESS):
    blank = torch.zeros(3, *shape)
    found = RandomResizedCrop.get_params(blank, list(scale), list(ratio))
    yield f'fallback/{number}', np.array([*found, *shape, *scale, *ratio])


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('path', help='the file to write')
  path = parser.parse_args().path
  recorded = {'levels': np.array(LEVELS), 'box': np.array(BOX), 'shape': np.array(SHAPE)}
  recorded |= {f'fill/{mode}': np.array(colour) for mode, colour in FILL.items()}
  for part in (policies, magnitudes, operations, geometry, boxes):
    recorded |= dict(part())
  np.savez_compressed(path, **recorded)
  print(*(f'{module.__name__} {module.__version__}' for module in (torch, torchvision, PIL, np)))


if __name__ == '__main__':
  main()

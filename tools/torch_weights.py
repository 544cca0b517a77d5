"""Weights and images drawn from a seed, the same wherever NumPy runs: with torch and with JAX.

NumPy keeps the raw bits of its generators stable across versions, but not its distributions.
"""

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

SEED = 0


def uniform(name: str, shape: Sequence[int]) -> np.ndarray:
  """Numbers from -1 to 1 in float32, a function of the seed, the name and the shape."""
  size = math.prod(shape)
  generator = np.random.PCG64([SEED, zlib.crc32(name.encode())])
  bits = generator.random_raw(size // 2 + 1).astype('<u8', copy=False).view('<u4')[:size]
  return ((bits >> 8).astype(np.float32) * 2.0**-23 - 1).reshape(shape)


def images(height: int, width: int) -> np.ndarray:
  """Two pictures [2, H, W, 3], normalised: noise from -2 to 2, the second one brighter."""
  noise = 2 * uniform('images', (2, height, width, 3))
  noise[1] = noise[1] / 2 + 1
  return noise


def picture(height: int, width: int) -> np.ndarray:
  """A picture [H, W, 3] in uint8: noisy ramps across and down, each channel in its own range."""
  y, x = np.mgrid[:height, :width][..., None] / max(height, width)
  ramps = np.array([75, 35, 110]) + x * np.array([90, 120, -60]) + y * np.array([-40, 60, 80])
  return (ramps + 30 * uniform('picture', (height, width, 3))).clip(0, 255).astype(np.uint8)


def drawn(
  shapes: Mapping[str, Sequence[int]], scales: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
  """A tensor for each name of a torch network, such that its logits vary with the images.

  Variances and normalisation scales are from 0.5 to 1.5. All else has mean 0. Variances: kernels
  1 / fan-in (depthwise kernels 1.5 / fan-in, or little is left after many), embeddings 1 / 4,
  biases and running means 1 / 100. `scales` multiplies tensors whose names begin with its keys.
  """
  tensors = {name: _tensor(name, tuple(shape)) for name, shape in shapes.items()}
  for beginning, factor in (scales or {}).items():
    for name in tensors:
      if name.startswith(beginning):
        tensors[name] *= np.float32(factor)
  return tensors


def _tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
  if not shape:
    return np.zeros((), np.int64)  # the counter of batches
  values = uniform(name, shape)
  if len(shape) == 1 and name.endswith(('running_var', 'weight')):
    return 1 + values / 2
  if len(shape) in (1, 3):
    variance = {1: 1 / 100, 3: 1 / 4}[len(shape)]
  else:
    variance = (1.5 if shape[1] == 1 else 1) / math.prod(shape[1:])
  return values * np.float32(math.sqrt(3 * variance))

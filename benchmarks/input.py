"""What the input pipeline adds to decoding, and how long it keeps a device waiting.

python -m benchmarks.input [--images=1024] [--rounds=3]

JPEG images of 500 x 375 pixels, decoded, cropped at random to 224 x 224, flipped and run through
AutoAugment: images per second of a plain loop over the same images and transforms, and of the
pipeline with threads and with worker processes, in turns, as medians over the rounds. Worker
processes are timed from their first batch on, since they start once per stage. `waits`: the share
of a step that the device waits for its batch if a step takes twice as long as reading its batch;
the step is a pause, like that of a device that leaves the host's cores alone.
"""

import io
import time
from typing import Any

import numpy as np
from absl import app, flags
from PIL import Image

from datasets import transforms
from datasets.input_pipeline import Batches, Reader, Reading, Step
from datasets.source import Example

_IMAGES = flags.DEFINE_integer('images', 1024, 'Images read by each way of a round.')
_ROUNDS = flags.DEFINE_integer('rounds', 3, 'Rounds.')

BATCH = 32
TRANSFORMS = (
  {'name': 'random_resized_crop', 'size': 224},
  {'name': 'flip'},
  {'name': 'autoaugment', 'policy': 'imagenet'},
)
WAYS = {
  'pipeline, 1 thread': Reading(ahead=2, threads=1),
  'pipeline, 2 threads': Reading(ahead=2, threads=2),
  'pipeline, 1 worker': Reading(ahead=2, threads=1, workers=1),
  'pipeline, 2 workers': Reading(ahead=4, threads=1, workers=2),
}


class Pictures:
  """Sixteen pictures of smooth noise, decoded anew at each access."""

  def __init__(self) -> None:
    rng = np.random.default_rng(0)
    self._files = []
    for _ in range(16):
      coarse = Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8))
      file = io.BytesIO()
      coarse.resize((500, 375), Image.Resampling.BICUBIC).save(file, 'JPEG', quality=90)
      self._files.append(file.getvalue())

  def __getitem__(self, index: int) -> Example:
    with Image.open(io.BytesIO(self._files[index % 16])) as image:
      return Example(np.asarray(image), 0)


def step(number: int) -> Step:
  """The images of a step."""
  index = np.arange(BATCH) + BATCH * number
  return Step(index, index % 10, (0, number))


def plain(read: Reader, steps: int) -> float:
  """Images per second of a plain loop."""
  begun = time.perf_counter()
  for number in range(steps):
    np.stack([read(i, (0, number, 0, row)) for row, i in enumerate(step(number).index)])
  return steps * BATCH / (time.perf_counter() - begun)


def piped(read: Reader, steps: int, reading: Reading, pause: float = 0.0) -> tuple[float, float]:
  """Images per second of the pipeline, and the share of the time that its caller waits."""
  batches, waited = Batches(read, step, 0, steps + 1, reading), 0.0
  next(batches)  # by now the readers have started
  begun = time.perf_counter()
  for _ in range(steps):
    time.sleep(pause)
    asked = time.perf_counter()
    next(batches)
    waited += time.perf_counter() - asked
  took = time.perf_counter() - begun
  batches.close()
  return steps * BATCH / took, waited / took


def measure(read: Reader, steps: int) -> dict[str, tuple[float, float]]:
  """Way -> images per second, and the share of waiting at steps twice as long as reading."""
  found = {'plain loop': (plain(read, steps), float('nan'))}
  for name, reading in WAYS.items():
    rate, _ = piped(read, steps, reading)
    _, waits = piped(read, steps, reading, pause=2 * BATCH / rate)
    found[name] = rate, waits
  return found


def median(rounds: list[dict[str, tuple[float, float]]], name: str, part: int) -> float:
  """The median of one number over the rounds."""
  return float(np.median([found[name][part] for found in rounds]))


def main(_: Any) -> None:
  """Measures and prints the results."""
  read = Reader(Pictures(), transforms.build(TRANSFORMS, 'transforms'))
  steps = max(1, _IMAGES.value // BATCH)
  rounds = [measure(read, steps) for _ in range(_ROUNDS.value)]
  print('| reader | images a second | over plain | waits |\n|---|---|---|---|')
  for name in rounds[0]:
    rate, waits = (median(rounds, name, part) for part in (0, 1))
    ratio = float(np.median([found[name][0] / found['plain loop'][0] for found in rounds]))
    shown = '' if np.isnan(waits) else f'{waits:.1%}'
    print(f'| {name} | {rate:.0f} | {ratio:.2f} | {shown} |')


if __name__ == '__main__':
  app.run(main)

"""Xception: timm's legacy_xception."""

from collections.abc import Sequence

from l2o.models.pretrained.spelling import Spelling
from l2o.models.xception import BLOCKS, Xception
from l2o.tasks.preprocessing import HALVES


def spellings(model: Xception, image_shape: Sequence[int]) -> list[Spelling]:
  """One spelling; timm's blocks are lists that count ReLUs, and the first begins without one."""
  del model, image_shape
  names = {'head': 'fc.'}
  for i in (1, 2, 3, 4):
    names |= {f'conv{i}': f'conv{i}.', f'norm{i}': f'bn{i}.'}
  for i in (3, 4):
    names |= _separable(f'conv{i}', f'conv{i}')
  for number, (features, _) in enumerate(BLOCKS, 1):
    block = f'block{number}'
    names |= {f'{block}/shortcut': f'{block}.skip.', f'{block}/shortcut_norm': f'{block}.skipbn.'}
    for i in range(len(features)):
      place = 3 * i + (number > 1)
      names |= _separable(f'{block}/separable{i + 1}', f'{block}.rep.{place}')
      names[f'{block}/norm{i + 1}'] = f'{block}.rep.{place + 1}.'
  return [Spelling('timm', names, HALVES._replace(size=299), needs={'epsilon': 1e-5})]


def _separable(ours: str, theirs: str) -> dict[str, str]:
  return {f'{ours}/depthwise': f'{theirs}.conv1.', f'{ours}/pointwise': f'{theirs}.pointwise.'}

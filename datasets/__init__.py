"""Data: sources behind one interface, class splits, and the samplers that draw from them."""

from datasets.source import ArraySource, Source
from l2o.registry import build

SOURCES = {
  'blank': 'datasets.blank:blank',
  'digits': 'datasets.digits:digits',
  'glyphs': 'datasets.glyphs:glyphs',
  'idx': 'datasets.idx:idx',
  'python_library': 'datasets.texts:python_library',
  'text': 'datasets.texts:text',
  'tfds': 'datasets.tfds:tfds',
  'tiny_imagenet': 'datasets.tiny_imagenet:tiny_imagenet',
}
SPLITS = ('train', 'validation')

__all__ = ['SOURCES', 'SPLITS', 'ArraySource', 'Source', 'load']


def load(spec: dict, split: str) -> Source:
  """Builds one split ('train' or 'validation') of the data set that `spec` names.

  Raises:
    InputError: no such data set or argument, or data that is not on this machine.
  """
  return build(SOURCES, spec, 'data set', split=split)

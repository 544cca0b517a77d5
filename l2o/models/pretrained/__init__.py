"""Networks pretrained elsewhere: from a file with torch's names to parameters and state.

An architecture is a function `(model, image_shape) -> [Spelling, ...]`, listed under the model's
class: how each publisher names the tensors, and what the weights expect of their images.
"""

from typing import TYPE_CHECKING

from l2o.submodules import lookup

ARCHITECTURES = {
  'CifarResNet': 'l2o.models.pretrained.cifar_resnet:spellings',
  'EfficientNetLite0': 'l2o.models.pretrained.efficientnet_lite:spellings',
  'ResNet': 'l2o.models.pretrained.resnet:spellings',
  'ViT': 'l2o.models.pretrained.vit:spellings',
  'Xception': 'l2o.models.pretrained.xception:spellings',
}
PICKLES = ('.bin', '.ckpt', '.pkl', '.pt', '.pth', '.th')

if not TYPE_CHECKING:  # as in l2o itself
  __getattr__ = lookup(__name__)

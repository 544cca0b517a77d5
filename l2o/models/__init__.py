"""Networks, by the name a config gives them.

A model of the task `classification` is a flax module called as
`model(images [B, H, W, C] float32, train=bool)`, whose last layer is named 'head': a fresh task
replaces it, and head-only training trains nothing else. Models that weights can fill end in
features if num_classes is 0. One of `language_model` is called as `model(tokens [B, T],
train=bool)`. Models of `regression` take the batch's inputs by name; if the attribute `pretrained`
of one names a module, weights fill only that module.
"""

from typing import TYPE_CHECKING

from l2o.submodules import lookup

MODELS = {
  'cifar_resnet': 'l2o.models.cifar_resnet:CifarResNet',
  'decoder': 'l2o.models.decoder:Decoder',
  'efficientnet_lite0': 'l2o.models.efficientnet_lite:EfficientNetLite0',
  'lane_keeping': 'l2o.models.lane_keeping:lane_keeping',
  'lstm': 'l2o.models.lstm:LSTM',
  'ltc': 'l2o.models.ltc:LTC',
  'mlp': 'l2o.models.mlp:MLP',
  'neural_ode': 'l2o.models.neural_ode:NeuralODE',
  'resnet': 'l2o.models.resnet:ResNet',
  'siren': 'l2o.models.siren:Siren',
  'vit': 'l2o.models.vit:ViT',
  'xception': 'l2o.models.xception:Xception',
}

if not TYPE_CHECKING:  # as in l2o itself
  __getattr__ = lookup(__name__)

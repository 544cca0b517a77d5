"""Networks, by the name a config gives them.

A model is a flax module called as `model(images [B, H, W, C] float32, train=bool)`, whose last
layer is named 'head': what a fresh task replaces and what head-only training trains.
"""

MODELS = {
  'mlp': 'l2o.models.mlp:MLP',
  'resnet': 'l2o.models.resnet:ResNet',
}

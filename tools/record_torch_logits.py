"""Records what timm's and torchvision's networks compute, with weights drawn from a seed.

python3 -m tools.record_torch_logits tests/golden/torch_logits.npz

Needs torch, torchvision and timm, but neither JAX nor l2o: tests/golden/README.md says how to
install them. To compare, draw the weights again from the names and shapes in the file.
"""

import argparse
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
import torchvision
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

from tools.torch_weights import drawn, images

SMALL_VIT = {'patch_size': 8, 'num_classes': 10}
# Makes the first normalisation's input so small that its epsilon matters.
FAINT = dict.fromkeys(
  ('patch_embed', 'pos_embed', 'conv_proj', 'class_token', 'encoder.pos_embedding'), 0.01
)


class Network(NamedTuple):
  """A network, the (height, width) of its images, and `scales` as in `drawn`."""

  build: Callable[..., torch.nn.Module]
  sizes: list[tuple[int, int]]
  scales: dict[str, float] | None = None


def from_timm(name: str) -> Callable[..., torch.nn.Module]:
  return lambda **arguments: timm.create_model(name, **arguments)


def small_timm_vit(**arguments: Any) -> torch.nn.Module:
  """A ViT whose head sees the mean of the patches."""
  return VisionTransformer(
    **{'img_size': 32, **SMALL_VIT, **arguments}, embed_dim=48, depth=2, num_heads=3,
    class_token=False, global_pool='avg', fc_norm=False,
  )  # fmt: skip


def small_torchvision_vit() -> torch.nn.Module:
  return torchvision.models.VisionTransformer(
    image_size=32, **SMALL_VIT, hidden_dim=48, num_layers=2, num_heads=3, mlp_dim=192
  )


NETWORKS = {
  'torchvision/resnet18': Network(torchvision.models.resnet18, [(64, 96)]),
  'timm/resnet50': Network(from_timm('resnet50'), [(64, 96)]),
  'timm/legacy_xception': Network(from_timm('legacy_xception'), [(96, 80)]),
  'timm/efficientnet_lite0': Network(from_timm('efficientnet_lite0'), [(96, 128)]),
  'timm/tf_efficientnet_lite0': Network(from_timm('tf_efficientnet_lite0'), [(96, 128)]),
  'timm/vit_base_patch16_224': Network(from_timm('vit_base_patch16_224'), [(224, 224), (160, 256)]),
  'timm/small_vit': Network(small_timm_vit, [(32, 32), (48, 24)], FAINT),
  'torchvision/small_vit': Network(small_torchvision_vit, [(32, 32)], FAINT),
}


@torch.no_grad()
def record(network: Network) -> dict[str, np.ndarray]:
  """Logits at each size; as JSON, how weights are drawn and what timm says about the images."""
  model = network.build().eval()
  shapes = {name: tuple(x.shape) for name, x in model.state_dict().items()}
  tensors = {name: torch.from_numpy(x) for name, x in drawn(shapes, network.scales).items()}
  about, logits = {'shapes': shapes, 'scales': network.scales}, {}
  for size in network.sizes:
    fitted = tensors
    if isinstance(model, VisionTransformer):
      model = network.build(img_size=size).eval()
      fitted = checkpoint_filter_fn(dict(tensors), model)  # fits the position embeddings
    model.load_state_dict(fitted)
    pictures = torch.from_numpy(images(*size).transpose(0, 3, 1, 2).copy())
    logits['logits_{}x{}'.format(*size)] = model(pictures).numpy()
  if expected := getattr(model, 'pretrained_cfg', None):
    kept = ('input_size', 'mean', 'std', 'interpolation')
    about['images'] = {key: expected[key] for key in kept}
  return logits | {key: np.array(json.dumps(value)) for key, value in about.items()}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('path', help='the file to write')
  path = parser.parse_args().path
  recorded = {}
  for name, network in NETWORKS.items():
    found = record(network)
    recorded |= {f'{name}/{what}': x for what, x in found.items()}
    for what, x in found.items():
      if x.ndim:
        print(f'{name} {what}: range {np.ptp(x):.3g}, images differ by {np.ptp(x, 0).max():.3g}')
  np.savez_compressed(path, **recorded)
  print(*(f'{module.__name__} {module.__version__}' for module in (torch, torchvision, timm, np)))


if __name__ == '__main__':
  main()

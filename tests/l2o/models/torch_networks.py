"""Small networks as torch has them: seeded weights under its names, and their logits in NumPy."""

import math
import zlib

import numpy as np


def drawn(shapes, seed=0):
  """Each tensor from the seed and its name; variances are positive."""
  tensors = {}
  for name, shape in shapes.items():
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.endswith('running_var') or (name.endswith('.weight') and len(shape) == 1):
      tensors[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    else:
      fan_in = math.prod(shape[1:]) if len(shape) > 1 else 25
      tensors[name] = rng.normal(0, 1 / math.sqrt(fan_in), shape).astype(np.float32)
  return tensors


def linear(name, outputs, inputs):
  return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}


def conv(name, outputs, inputs, side):
  return {f'{name}.weight': (outputs, inputs, side, side)}


def affine(name, width):
  return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def batch_norm(name, width):
  counted = {f'{name}.num_batches_tracked': ()}
  statistics = {f'{name}.running_{what}': (width,) for what in ('mean', 'var')}
  return {**affine(name, width), **statistics, **counted}


def timm_vit(width, depth, patch, places, classes, token=True):
  shapes = {'cls_token': (1, 1, width)} if token else {}
  shapes |= {'pos_embed': (1, places + token, width), 'patch_embed.proj.bias': (width,)}
  shapes |= conv('patch_embed.proj', width, 3, patch)
  for at in (f'blocks.{number}' for number in range(depth)):
    shapes |= affine(f'{at}.norm1', width) | affine(f'{at}.norm2', width)
    shapes |= linear(f'{at}.attn.qkv', 3 * width, width) | linear(f'{at}.attn.proj', width, width)
    shapes |= linear(f'{at}.mlp.fc1', 4 * width, width) | linear(f'{at}.mlp.fc2', width, 4 * width)
  return shapes | affine('norm', width) | linear('head', classes, width)


def torchvision_vit(timm, mlp=('0', '3')):
  """torchvision's names of timm's tensors."""
  rules = (
    ('cls_token', 'class_token'),
    ('pos_embed', 'encoder.pos_embedding'),
    ('patch_embed.proj', 'conv_proj'),
    ('blocks.', 'encoder.layers.encoder_layer_'),
    ('attn.qkv.', 'self_attention.in_proj_'),
    ('attn.proj', 'self_attention.out_proj'),
    ('.norm1', '.ln_1'),
    ('.norm2', '.ln_2'),
    ('mlp.fc1', f'mlp.{mlp[0]}'),
    ('mlp.fc2', f'mlp.{mlp[1]}'),
  )
  renamed = {}
  for name, tensor in timm.items():
    if name.startswith(('norm.', 'head.')):
      name = {'norm': 'encoder.ln', 'head': 'heads.head'}[name[:4]] + name[4:]
    for before, after in rules:
      name = name.replace(before, after)
    renamed[name] = tensor
  return renamed


def resnet(features, blocks, classes, stem, bottleneck=False, fc='fc'):
  """torchvision's BasicBlock or Bottleneck; timm's names are the same."""
  shapes = conv('conv1', features[0], 3, stem) | batch_norm('bn1', features[0])
  wide = inputs = features[0]
  for stage, (width, count) in enumerate(zip(features, blocks, strict=True), 1):
    for block in range(count):
      at, inputs, wide = f'layer{stage}.{block}', wide, 4 * width if bottleneck else width
      sizes = [(inputs, 1), (width, 3), (width, 1)] if bottleneck else [(inputs, 3), (width, 3)]
      for i, (into, side) in enumerate(sizes, 1):
        out = wide if i == len(sizes) else width
        shapes |= conv(f'{at}.conv{i}', out, into, side) | batch_norm(f'{at}.bn{i}', out)
      if inputs != wide or (stage > 1 and not block):
        shapes |= conv(f'{at}.downsample.0', wide, inputs, 1)
        shapes |= batch_norm(f'{at}.downsample.1', wide)
  return shapes | linear(fc, classes, wide)


def timm_efficientnet_lite0():
  shapes = conv('conv_stem', 32, 3, 3) | batch_norm('bn1', 32)
  into = 32
  stages = (1, 3, 16), (2, 3, 24), (2, 5, 40), (3, 3, 80), (3, 5, 112), (4, 5, 192), (1, 3, 320)
  for stage, (repeats, side, out) in enumerate(stages):
    for at in (f'blocks.{stage}.{block}' for block in range(repeats)):
      wide = 6 * into if stage else into
      last = 'conv_pwl' if stage else 'conv_pw'
      shapes |= conv(f'{at}.conv_dw', wide, 1, side) | conv(f'{at}.{last}', out, wide, 1)
      shapes |= conv(f'{at}.conv_pw', wide, into, 1) if stage else {}
      for number, width in enumerate((wide, wide, out) if stage else (wide, out), 1):
        shapes |= batch_norm(f'{at}.bn{number}', width)
      into = out
  shapes |= conv('conv_head', 1280, into, 1) | batch_norm('bn2', 1280)
  return shapes | linear('classifier', 1000, 1280)


def xception():
  """timm's legacy_xception."""

  def separable(name, out, into):
    return conv(f'{name}.conv1', into, 1, 3) | conv(f'{name}.pointwise', out, into, 1)

  shapes = conv('conv1', 32, 3, 3) | batch_norm('bn1', 32)
  shapes |= conv('conv2', 64, 32, 3) | batch_norm('bn2', 64)
  middle = [[728, 728, 728]] * 8
  blocks = [[128, 128], [256, 256], [728, 728], *middle, [728, 1024]]
  into = 64
  for number, widths in enumerate(blocks, 1):
    at = f'block{number}'
    if len(widths) == 2:
      shapes |= conv(f'{at}.skip', widths[-1], into, 1) | batch_norm(f'{at}.skipbn', widths[-1])
    for place, out in zip((0, 3) if number == 1 else (1, 4, 7), widths, strict=False):
      shapes |= separable(f'{at}.rep.{place}', out, into)
      shapes |= batch_norm(f'{at}.rep.{place + 1}', out)
      into = out
  for name, out in (('3', 1536), ('4', 2048)):
    shapes |= separable(f'conv{name}', out, into) | batch_norm(f'bn{name}', out)
    into = out
  return shapes | linear('fc', 1000, 2048)


def vit_logits(t, images, patch, depth, heads):
  """timm's forward pass in float64, from images [B, H, W, C]."""
  t = {name: tensor.astype(np.float64) for name, tensor in t.items()}
  width = t['pos_embed'].shape[-1]

  def norm(x, name):
    x = x - x.mean(axis=-1, keepdims=True)
    return (
      x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * t[f'{name}.weight'] + t[f'{name}.bias']
    )

  def dense(x, name):
    return x @ t[f'{name}.weight'].T + t[f'{name}.bias']

  def attention(x, name):
    q, k, v = np.split(dense(x, f'{name}.qkv'), 3, axis=-1)
    mixed = np.zeros_like(x)
    for part in np.split(np.arange(width), heads):
      scores = np.exp(q[..., part] @ k[..., part].swapaxes(1, 2) / math.sqrt(width / heads))
      mixed[..., part] = scores / scores.sum(axis=-1, keepdims=True) @ v[..., part]
    return dense(mixed, f'{name}.proj')

  x = convolved(images.transpose(0, 3, 1, 2), t['patch_embed.proj.weight'], patch, 0)
  x = x.reshape(*x.shape[:2], -1).swapaxes(1, 2) + t['patch_embed.proj.bias']
  token = 'cls_token' in t
  if token:
    x = np.concatenate([np.repeat(t['cls_token'], len(x), axis=0), x], axis=1)
  x = x + t['pos_embed']
  for at in (f'blocks.{number}' for number in range(depth)):
    x = x + attention(norm(x, f'{at}.norm1'), f'{at}.attn')
    y = dense(norm(x, f'{at}.norm2'), f'{at}.mlp.fc1')
    y = y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
    x = x + dense(y, f'{at}.mlp.fc2')
  x = norm(x, 'norm')
  return dense(x[:, 0] if token else x.mean(axis=1), 'head')


def convolved(x, kernel, stride, margin):
  """torch's conv2d without bias: [B, C, H, W] with [O, C, KH, KW], padded alike on all sides."""
  x = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
  windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(2, 3))
  return np.einsum('bchwij,ocij->bohw', windows[:, :, ::stride, ::stride], kernel)


def resnet_logits(t, images, blocks, stem, stem_stride, bottleneck=False):
  """torchvision's forward pass with running statistics, from images [B, H, W, C]."""

  def step(x, number, stride=1, at='', names=('conv{}', 'bn{}')):
    name, norm = (at + kind.format(number) for kind in names)
    kernel = t[f'{name}.weight']
    x = convolved(x, kernel, stride, kernel.shape[-1] // 2)
    scale, shift, mean, var = (
      t[f'{norm}.{what}'][:, None, None]
      for what in ('weight', 'bias', 'running_mean', 'running_var')
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift

  x = np.maximum(step(images.transpose(0, 3, 1, 2), 1, stem_stride), 0)
  for stage, count in enumerate(blocks, 1):
    for block in range(count):
      at, stride = f'layer{stage}.{block}.', 2 if stage > 1 and not block else 1
      strides = (1, stride, 1) if bottleneck else (stride, 1)
      y = x
      for i, each in enumerate(strides, 1):
        y = step(y, i, each, at)
        y = y if i == len(strides) else np.maximum(y, 0)
      if f'{at}downsample.0.weight' in t:
        x = step(x, '', stride, at, ('downsample.0', 'downsample.1'))
      x = np.maximum(x + y, 0)
  return x.mean(axis=(2, 3)) @ t['fc.weight'].T + t['fc.bias']

"""The names and shapes of torch's tensors, for networks of any size."""


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


def timm_vit(width, depth, patch, places, classes):
  shapes = {'cls_token': (1, 1, width), 'pos_embed': (1, 1 + places, width)}
  shapes |= {'patch_embed.proj.bias': (width,)} | conv('patch_embed.proj', width, 3, patch)
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

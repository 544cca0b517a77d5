"""Weights under torch names: where they land, and what is refused.

What they compute: test_torch_logits.py.
"""

import jax
import ml_dtypes
import numpy as np
import PIL.Image
import pytest
import safetensors.numpy

from l2o.artifacts.arrays_file import flatten
from l2o.errors import InputError
from l2o.models.mlp import MLP
from l2o.models.pretrained.vit import resized_positions
from l2o.models.pretrained.weights import load_weights
from l2o.models.resnet import ResNet
from l2o.models.vit import ViT
from tests.l2o.models import torch_networks as torch
from tools.torch_weights import drawn

KEY = jax.random.key(0)
VIT = {'width': 12, 'depth': 2, 'heads': 3, 'patch': 4}
SHAPE = (8, 8, 3)
RESNET = {'features': (4, 8), 'blocks': (1, 2), 'stem_stride': 2, 'padding': 'torch'}


def written(folder, tensors, name='weights.safetensors'):
  safetensors.numpy.save_file(tensors, folder / name)
  return folder / name


def vit_tensors(places=4, classes=5):
  return drawn(torch.timm_vit(12, 2, 4, places, classes))


def equal(found, wanted):
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize('mlp', [('0', '3'), ('linear_1', 'linear_2')])
def test_torchvisions_vit_is_the_same_network(tmp_path, mlp):
  tensors, model = vit_tensors(), ViT(5, **VIT)
  timm = load_weights(written(tmp_path, tensors), model, SHAPE, KEY)
  path = written(tmp_path, torch.torchvision_vit(tensors, mlp))
  weights = load_weights(path, model, SHAPE, KEY)
  equal(weights.params, timm.params)
  assert weights.publisher == 'torchvision'
  assert weights.preprocessing.mean == (0.485, 0.456, 0.406)


def test_other_images_get_positions_by_pillows_bicubic(tmp_path):
  tensors = vit_tensors(places=16)
  weights = load_weights(written(tmp_path, tensors), ViT(5, **VIT), (12, 24, 3), KEY)
  found = weights.params['positions']
  assert found.shape == (1, 1 + 3 * 6, 12)
  np.testing.assert_array_equal(found[:, 0], tensors['pos_embed'][:, 0])
  for channel in range(12):
    places = PIL.Image.fromarray(tensors['pos_embed'][0, 1:, channel].reshape(4, 4))
    wanted = np.asarray(places.resize((6, 3), PIL.Image.Resampling.BICUBIC))
    np.testing.assert_allclose(found[0, 1:, channel].reshape(3, 6), wanted, atol=1e-5)


def test_the_same_grid_keeps_its_positions():
  tensor = np.ones((1, 5, 3), np.float32)
  assert resized_positions(tensor, (2, 2), tokens=1) is tensor


def test_other_classes_get_a_head_of_their_own(tmp_path):
  tensors = vit_tensors(classes=5)
  path = written(tmp_path, tensors)
  whole = load_weights(path, ViT(5, **VIT), SHAPE, KEY)
  a, b, again = (load_weights(path, ViT(7, **VIT), SHAPE, jax.random.key(k)) for k in (1, 2, 1))
  assert a.fresh_head
  assert not whole.fresh_head
  assert a.params['head']['kernel'].shape == (12, 7)
  assert np.any(a.params['head']['kernel'] != b.params['head']['kernel'])
  equal(a.params, again.params)
  assert np.std(a.params['head']['kernel']) == pytest.approx(12**-0.5, rel=0.3)
  equal({**a.params, 'head': 0}, {**whole.params, 'head': 0})
  backbone = {name: x for name, x in tensors.items() if not name.startswith('head.')}
  headless = load_weights(written(tmp_path, backbone), ViT(5, **VIT), SHAPE, KEY)
  assert headless.fresh_head
  equal({**headless.params, 'head': 0}, {**whole.params, 'head': 0})


@pytest.mark.parametrize('dtype', [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_types_are_read_as_float32(tmp_path, dtype):
  tensors = {name: x.astype(dtype) for name, x in vit_tensors().items()}
  weights = load_weights(written(tmp_path, tensors), ViT(5, **VIT), SHAPE, KEY)
  assert {x.dtype for x in jax.tree.leaves(weights.params)} == {np.dtype(np.float32)}
  kernel = weights.params['block_1']['hidden']['kernel']
  np.testing.assert_array_equal(kernel, tensors['blocks.1.mlp.fc1.weight'].T.astype(np.float32))


def without(*names):
  return lambda t: [t.pop(name) for name in names]


def put(**given):
  return lambda t: t.update({name.replace('__', '.'): x for name, x in given.items()})


ZEROS = np.zeros((12, 13), np.float32)


@pytest.mark.parametrize(
  ('spoil', 'says'),
  [
    (without('norm.bias'), r'does not fit ViT under the names of timm: it lacks norm\.bias$'),
    (put(fc_norm__bias=ZEROS), r'the model has no place for fc_norm\.bias$'),
    (put(norm__bias=ZEROS), r'norm\.bias is \(12, 13\), not \(12,\)$'),
    (put(blocks__0__attn__proj__weight=ZEROS), r'proj\.weight is \(12, 13\), not \(12, 12\)$'),
    (put(norm__bias=np.full(12, np.nan, np.float32)), r'not finite in norm\.bias$'),
    (put(norm__bias=np.full(12, 1e300)), r'not finite in norm\.bias$'),
    (put(norm__bias=np.ones(12, bool)), r'norm\.bias is bool, not real numbers$'),
    (without('head.bias'), r'it lacks head\.bias$'),
    (put(head__bias=np.zeros(9, np.float32)), r'head\.bias is \(9,\), not \(5,\)$'),
    (put(head__weight=ZEROS), r'head\.weight is \(12, 13\), not \(5, 12\)$'),
    (put(pos_embed=np.zeros((1, 8, 12), np.float32)), r'pos_embed is \(1, 8, 12\), not \(1, 5'),
    (put(pos_embed=np.zeros(12, np.float32)), r'pos_embed is \(12,\), not \(1, 5, 12\)$'),
    (
      lambda t: [t.update({f'x{n}': t.pop(n)}) for n in list(t) if n.startswith('blocks.1.n')],
      r'it lacks blocks\.1\.norm1\.bias, blocks\.1\.norm1\.weight, \S+\.norm2\.bias and 1 more'
      r'; the model has no place for xblocks\.\S+, xblocks\.\S+, xblocks\.\S+ and 1 more$',
    ),
  ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, spoil, says):
  tensors = vit_tensors()
  spoil(tensors)
  with pytest.raises(InputError, match=says) as caught:
    load_weights(written(tmp_path, tensors), ViT(5, **VIT), SHAPE, KEY)
  assert '\n' not in str(caught.value)


def test_another_networks_file_is_refused(tmp_path):
  path = written(tmp_path, {'conv1.weight': np.zeros((1, 1, 1, 1), np.float32)})
  with pytest.raises(InputError, match=r'names of timm, torchvision: it has conv1\.weight$'):
    load_weights(path, ViT(5, **VIT), SHAPE, KEY)
  with pytest.raises(InputError, match="no architecture with known names of weights 'MLP'"):
    load_weights(path, MLP(5), SHAPE, KEY)
  with pytest.raises(InputError, match=r'it has none$'):
    load_weights(written(tmp_path, {}), ViT(5, **VIT), SHAPE, KEY)


def test_padding_that_would_shift_the_image_is_refused(tmp_path):
  path = written(tmp_path, drawn(torch.resnet((4, 8), (1, 2), 5, 3)))
  with pytest.raises(InputError, match=r"need model\.padding = 'torch', not 'same'$"):
    load_weights(path, ResNet(5, **{**RESNET, 'padding': 'same'}), (16, 16, 3), KEY)


@pytest.mark.parametrize('name', ['model.pth', 'model.pt', 'pytorch_model.bin'])
def test_a_pickle_is_never_opened(tmp_path, name):
  path = tmp_path / name
  path.mkdir()  # reading it would say so
  with pytest.raises(InputError, match=r'holds a pickle.*save_file\(.*weights_only=True'):
    load_weights(path, ViT(5, **VIT), SHAPE, KEY)


@pytest.mark.parametrize('size', [0, 5, 8, 300, -1])
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path, size):
  path = written(tmp_path, vit_tensors())
  path.write_bytes(path.read_bytes()[:size])
  with pytest.raises(InputError, match='damaged or holds no weights in safetensors') as caught:
    load_weights(path, ViT(5, **VIT), SHAPE, KEY)
  assert '\n' not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
  for path in (tmp_path / 'none.safetensors', tmp_path):
    with pytest.raises(InputError, match='holds no weights in safetensors'):
      load_weights(path, ViT(5, **VIT), SHAPE, KEY)


def test_nothing_of_a_file_is_left_out(tmp_path):
  tensors = drawn(torch.resnet((4, 8), (1, 2), 5, 3))
  weights = load_weights(written(tmp_path, tensors), ResNet(5, **RESNET), (16, 16, 3), KEY)
  used = [x for name, x in tensors.items() if not name.endswith('num_batches_tracked')]
  filled = flatten({'params': weights.params, 'state': weights.model_state}).values()
  assert sorted(map(np.sum, filled)) == pytest.approx(sorted(map(np.sum, used)), abs=1e-5)
